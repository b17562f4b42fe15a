#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[test]
fn topic_arns_of_every_partition_parse_and_print_as_written() {
    let arns = [
        (
            "arn:aws:sns:us-east-1:123456789012:orders",
            Partition::Aws,
            "sns.us-east-1.amazonaws.com",
        ),
        (
            "arn:aws:sns:mx-central-1:123456789012:a_B-9",
            Partition::Aws,
            "sns.mx-central-1.amazonaws.com",
        ),
        (
            "arn:aws-cn:sns:cn-north-1:123456789012:t",
            Partition::AwsCn,
            "sns.cn-north-1.amazonaws.com.cn",
        ),
        (
            "arn:aws-us-gov:sns:us-gov-east-1:123456789012:t",
            Partition::AwsUsGov,
            "sns.us-gov-east-1.amazonaws.com",
        ),
        (
            "arn:aws-iso:sns:us-iso-east-1:123456789012:t",
            Partition::AwsIso,
            "sns.us-iso-east-1.c2s.ic.gov",
        ),
        (
            "arn:aws-iso-b:sns:us-isob-east-1:123456789012:t",
            Partition::AwsIsoB,
            "sns.us-isob-east-1.sc2s.sgov.gov",
        ),
        (
            "arn:aws-iso-e:sns:eu-isoe-west-1:123456789012:t",
            Partition::AwsIsoE,
            "sns.eu-isoe-west-1.cloud.adc-e.uk",
        ),
        (
            "arn:aws-iso-f:sns:us-isof-south-1:123456789012:t",
            Partition::AwsIsoF,
            "sns.us-isof-south-1.csp.hci.ic.gov",
        ),
        (
            "arn:aws-eusc:sns:eusc-de-east-1:123456789012:t",
            Partition::AwsEusc,
            "sns.eusc-de-east-1.amazonaws.eu",
        ),
    ];
    for (text, partition, host) in arns {
        let arn = TopicArn::parse(text).expect(text);
        assert_eq!(arn.to_string(), text);
        assert_eq!(arn.partition(), partition, "{text}");
        assert_eq!(arn.region().sns_host(), host);
        assert_eq!(arn.account(), "123456789012");
        assert!(!arn.is_fifo());
    }
}

#[test]
fn what_is_not_a_topic_arn_is_refused_by_the_rule_it_breaks() {
    let long = format!("arn:aws:sns:us-east-1:123456789012:{}", "n".repeat(257));
    let huge = "a".repeat(1 << 20);
    let cases = [
        ("", ArnError::Malformed),
        ("arn:aws:sqs:us-east-1:123456789012:t", ArnError::Malformed),
        ("ARN:aws:sns:us-east-1:123456789012:t", ArnError::Malformed),
        ("arn:aws:sns:us-east-1:123456789012", ArnError::Malformed),
        (
            "arn:aws:sns:us-east-1:123456789012:t:5a",
            ArnError::Malformed,
        ),
        ("arn:evil:sns:us-east-1:123456789012:t", ArnError::Partition),
        (
            "arn:aws:sns:us-east-1.evil.com:123456789012:t",
            ArnError::Region,
        ),
        ("arn:aws:sns:US-EAST-1:123456789012:t", ArnError::Region),
        ("arn:aws:sns:cn-north-1:123456789012:t", ArnError::Region),
        ("arn:aws:sns:us-gov-west-1:123456789012:t", ArnError::Region),
        ("arn:aws-cn:sns:us-east-1:123456789012:t", ArnError::Region),
        (
            "arn:aws-us-gov:sns:us-iso-east-1:123456789012:t",
            ArnError::Region,
        ),
        ("arn:aws:sns::123456789012:t", ArnError::Region),
        (
            "arn:aws:sns:us-east-1/../x:123456789012:t",
            ArnError::Region,
        ),
        ("arn:aws:sns:us-east-1:12345678901:t", ArnError::Account),
        ("arn:aws:sns:us-east-1:12345678901x:t", ArnError::Account),
        ("arn:aws:sns:us-east-1:123456789012:", ArnError::TopicName),
        (
            "arn:aws:sns:us-east-1:123456789012:.fifo",
            ArnError::TopicName,
        ),
        (
            "arn:aws:sns:us-east-1:123456789012:t\n",
            ArnError::TopicName,
        ),
        ("arn:aws:sns:us-east-1:123456789012:tö", ArnError::TopicName),
        (
            "arn:aws:sns:us-east-1:123456789012:a.b",
            ArnError::TopicName,
        ),
        (long.as_str(), ArnError::TopicName),
        (huge.as_str(), ArnError::TooLong),
    ];
    for (text, expected) in cases {
        assert_eq!(TopicArn::parse(text), Err(expected), "{text:.80}");
    }
}

#[test]
fn fifo_topics_are_flagged() {
    let arn = TopicArn::parse("arn:aws:sns:us-east-1:000000000000:lab.fifo").unwrap();
    assert!(arn.is_fifo());
    assert_eq!(arn.name(), "lab.fifo");
}

#[test]
fn subscription_arns_know_their_topic() {
    let text = "arn:aws:sns:us-east-1:000000000000:lab:fdda020f-a850-49a0-b260-ca443046e6a7";
    let arn = SubscriptionArn::parse(text).unwrap();
    assert_eq!(
        arn.topic().as_str(),
        "arn:aws:sns:us-east-1:000000000000:lab"
    );
    for bad in [
        "pending confirmation",
        "arn:aws:sns:us-east-1:000000000000:lab",
        &format!("{text}:x"),
        &format!("{text} "),
    ] {
        assert!(SubscriptionArn::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn arns_are_strings_to_serde_and_checked_on_the_way_in() {
    let json = "\"arn:aws:sns:us-east-1:000000000000:lab\"";
    let arn: TopicArn = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&arn).unwrap(), json);
    assert!(serde_json::from_str::<TopicArn>("\"arn:aws:sns:nowhere:0:lab\"").is_err());
}
