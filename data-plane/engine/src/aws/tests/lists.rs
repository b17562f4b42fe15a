use super::*;

#[test]
fn lists_are_lists_of_any_length() {
    let of = |name: &str, operation: &str, inner: &str| {
        let body = format!("<R><{operation}Result>{inner}</{operation}Result></R>");
        result(name, operation, &answer(200, &[], &body))["result"].clone()
    };
    let alarm = "<member><AlarmName>a</AlarmName><AlarmActions/></member>";
    for (inside, expected) in [
        ("", json!([])),
        ("\n  ", json!([])),
        (alarm, json!([{"AlarmName": "a", "AlarmActions": []}])),
    ] {
        let inner = format!("<MetricAlarms>{inside}</MetricAlarms><CompositeAlarms/>");
        assert_eq!(
            of("cloudwatch", "DescribeAlarms", &inner),
            json!({"MetricAlarms": expected, "CompositeAlarms": []})
        );
    }
    // Items that are not called as their list is.
    let group = "<VpcSecurityGroupMembership><Status>active</Status></VpcSecurityGroupMembership>";
    for count in 0..3 {
        let inner = format!(
            "<VpcSecurityGroups>{}</VpcSecurityGroups>",
            group.repeat(count)
        );
        assert_eq!(
            of("rds", "DescribeDBInstances", &inner)["VpcSecurityGroups"],
            Value::Array(vec![json!({"Status": "active"}); count])
        );
    }
    for (service, operation, inner, expected) in [
        (
            "autoscaling",
            "DescribeAutoScalingGroups",
            "<AutoScalingGroups/>",
            json!({"AutoScalingGroups": []}),
        ),
        (
            "cloudformation",
            "DescribeStacks",
            "<Stacks/>",
            json!({"Stacks": []}),
        ),
        ("sns", "ListTopics", "<Topics/>", json!({"Topics": []})),
        ("iam", "ListRoles", "<Roles></Roles>", json!({"Roles": []})),
        ("elbv2", "DescribeRules", "<Rules/>", json!({"Rules": []})),
        (
            "sns",
            "GetTopicAttributes",
            "<Attributes/>",
            json!({"Attributes": {}}),
        ),
        // A text of the same service stays one.
        (
            "sns",
            "Subscribe",
            "<SubscriptionArn/>",
            json!({"SubscriptionArn": ""}),
        ),
    ] {
        assert_eq!(of(service, operation, inner), expected, "{service}");
    }
    // Of what the definition writes itself, too.
    let cors = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    let cors = answer(200, &[("content-type", "application/xml")], cors);
    assert_eq!(
        read(AnswerForm::Rest, "s3", &cors).unwrap()["result"],
        json!({"CORSRule": [{"AllowedMethod": ["GET"]}]})
    );
    assert_eq!(
        read(AnswerForm::Rest, "another", &cors).unwrap()["result"],
        json!({"CORSRule": {"AllowedMethod": "GET"}})
    );
}
