//! Ready-made ways to subscribe a webhook to an Amazon SNS topic: SignatureVersion 2, a delivery policy that fills Amazon
//! SNS's hour, and a dead-letter queue.
//!
//! The policy: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html>. 3 retries at once, 2 after
//! 1 s, 10 growing to 60 s, 55 every 60 s: about an hour, which is the longest that Amazon SNS allows.

use signalbox_proto::v1;

const POLICY: &str = r#"{"healthyRetryPolicy":{"numRetries":70,"numNoDelayRetries":3,"numMinDelayRetries":2,"minDelayTarget":1,"maxDelayTarget":60,"numMaxDelayRetries":55,"backoffFunction":"exponential"}}"#;

pub(super) fn webhook(url: String, api_keys: Vec<String>, is_sns: bool) -> v1::Webhook {
    let endpoint = format!("{url}?x-api-key=KEY");
    if !is_sns {
        return v1::Webhook {
            url,
            api_keys,
            endpoint_template: endpoint,
            ..Default::default()
        };
    }
    v1::Webhook {
        console_steps: console(&endpoint),
        aws_cli: aws_cli(&endpoint),
        cloudformation: cloudformation(&endpoint),
        terraform: terraform(&endpoint),
        endpoint_template: endpoint,
        url,
        api_keys,
    }
}

fn console(endpoint: &str) -> String {
    format!(
        "1. Amazon SNS, Topics, your topic, Edit: set \"Signature version\" to 2.\n\
         2. Create subscription: protocol HTTPS, endpoint {endpoint} (with the key's value in place of KEY); leave raw \
         message delivery off.\n\
         3. Delivery policy (HTTP/S), JSON: {POLICY}\n\
         4. Redrive policy: a dead-letter queue (Amazon SQS), so that nothing is dropped after the last retry.\n\
         5. The subscription confirms itself; its state shows here and in the console within seconds.\n"
    )
}

fn aws_cli(endpoint: &str) -> String {
    format!(
        "TOPIC_ARN=arn:aws:sns:REGION:ACCOUNT:TOPIC\n\
         DLQ_ARN=arn:aws:sqs:REGION:ACCOUNT:QUEUE\n\
         aws sns set-topic-attributes --topic-arn \"$TOPIC_ARN\" \\\n  \
           --attribute-name SignatureVersion --attribute-value 2\n\
         aws sns subscribe --topic-arn \"$TOPIC_ARN\" --protocol https \\\n  \
           --notification-endpoint '{endpoint}' \\\n  \
           --attributes \"$(printf '{{\"DeliveryPolicy\":\"%s\",\"RedrivePolicy\":\"{{\\\\\"deadLetterTargetArn\\\\\":\\\\\"%s\\\\\"}}\"}}' '{policy}' \"$DLQ_ARN\")\"\n",
        policy = POLICY.replace('"', "\\\\\"")
    )
}

fn cloudformation(endpoint: &str) -> String {
    format!(
        "Parameters:\n  TopicArn: {{Type: String}}\n  SignalboxKey: {{Type: String, NoEcho: true}}\n\
         Resources:\n  DeadLetters:\n    Type: AWS::SQS::Queue\n    Properties: {{MessageRetentionPeriod: 1209600}}\n  \
         DeadLettersPolicy:\n    Type: AWS::SQS::QueuePolicy\n    Properties:\n      Queues: [!Ref DeadLetters]\n      \
         PolicyDocument:\n        Statement:\n          - Effect: Allow\n            Principal: {{Service: sns.amazonaws.com}}\n            \
         Action: sqs:SendMessage\n            Resource: !GetAtt DeadLetters.Arn\n            \
         Condition: {{ArnEquals: {{\"aws:SourceArn\": !Ref TopicArn}}}}\n  \
         Subscription:\n    Type: AWS::SNS::Subscription\n    Properties:\n      TopicArn: !Ref TopicArn\n      Protocol: https\n      \
         Endpoint: !Sub '{endpoint}'\n      DeliveryPolicy: {POLICY}\n      \
         RedrivePolicy: {{deadLetterTargetArn: !GetAtt DeadLetters.Arn}}\n\
         # SignatureVersion is a property of the topic: AWS::SNS::Topic, SignatureVersion: \"2\".\n",
        endpoint = endpoint.replace("KEY", "${SignalboxKey}")
    )
}

fn terraform(endpoint: &str) -> String {
    format!(
        "# On the topic: signature_version = 2\n\
         variable \"topic_arn\" {{ type = string }}\n\
         variable \"signalbox_key\" {{\n  type      = string\n  sensitive = true\n}}\n\n\
         resource \"aws_sqs_queue\" \"dead_letters\" {{\n  name                      = \"signalbox-dead-letters\"\n  message_retention_seconds = 1209600\n}}\n\n\
         resource \"aws_sqs_queue_policy\" \"dead_letters\" {{\n  queue_url = aws_sqs_queue.dead_letters.id\n  policy = jsonencode({{\n    \
         Statement = [{{\n      Effect    = \"Allow\"\n      Principal = {{ Service = \"sns.amazonaws.com\" }}\n      Action    = \"sqs:SendMessage\"\n      \
         Resource  = aws_sqs_queue.dead_letters.arn\n      Condition = {{ ArnEquals = {{ \"aws:SourceArn\" = var.topic_arn }} }}\n    }}]\n  }})\n}}\n\n\
         resource \"aws_sns_topic_subscription\" \"signalbox\" {{\n  topic_arn              = var.topic_arn\n  protocol               = \"https\"\n  \
         endpoint               = \"{endpoint}\"\n  endpoint_auto_confirms = true\n  delivery_policy        = jsonencode({POLICY})\n  \
         redrive_policy         = jsonencode({{ deadLetterTargetArn = aws_sqs_queue.dead_letters.arn }})\n}}\n",
        endpoint = endpoint.replace("KEY", "${var.signalbox_key}")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kit_holds_everything_for_a_safe_subscription() {
        let kit = webhook("https://h/v1/x/sns".to_owned(), vec![], true);
        assert_eq!(kit.endpoint_template, "https://h/v1/x/sns?x-api-key=KEY");
        for text in [
            &kit.console_steps,
            &kit.aws_cli,
            &kit.cloudformation,
            &kit.terraform,
        ] {
            assert!(text.contains("https://h/v1/x/sns?x-api-key="), "{text}");
            assert!(text.contains("healthyRetryPolicy"), "{text}");
            let lower = text.to_lowercase();
            assert!(
                lower.contains("signature") && lower.contains("dead"),
                "{text}"
            );
        }
        assert!(kit.aws_cli.contains("SignatureVersion"));
        let policy: Result<serde_json::Value, _> = serde_json::from_str(POLICY);
        assert!(policy.is_ok());
        assert!(
            webhook("https://h/webhook".to_owned(), vec![], false)
                .aws_cli
                .is_empty()
        );
    }
}
