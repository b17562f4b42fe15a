#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const TOPIC: &str = "arn:aws:sns:us-west-2:123456789012:MyTopic";
const SUBSCRIPTION: &str =
    "arn:aws:sns:us-west-2:123456789012:MyTopic:2bcfbf39-05c3-41de-beaa-fcfcc21c8f55";

fn topic() -> TopicArn {
    TopicArn::parse(TOPIC).unwrap()
}

fn aws_xml(arn: &str) -> String {
    format!(
        "<ConfirmSubscriptionResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\n  \
         <ConfirmSubscriptionResult>\n    <SubscriptionArn>{arn}</SubscriptionArn>\n  </ConfirmSubscriptionResult>\n  \
         <ResponseMetadata>\n    <RequestId>075ecce8-8dac-11e1-bf80-f781d96e9307</RequestId>\n  </ResponseMetadata>\n\
         </ConfirmSubscriptionResponse>\n"
    )
}

#[test]
fn the_answers_of_aws_and_localstack_give_the_subscription() {
    let localstack = format!(
        "<?xml version='1.0' encoding='utf-8'?>\n{}",
        aws_xml(SUBSCRIPTION).replace("\n  ", "")
    );
    let prefixed = aws_xml(SUBSCRIPTION)
        .replace("</", "</n:")
        .replace('<', "<n:")
        .replace("<n:/n:", "</n:")
        .replace("xmlns=", "xmlns:n=");
    let json = format!(
        r#"{{"ConfirmSubscriptionResponse":{{"ConfirmSubscriptionResult":{{"SubscriptionArn":"{SUBSCRIPTION}"}},"ResponseMetadata":{{"RequestId":"x"}}}}}}"#
    );
    for body in [aws_xml(SUBSCRIPTION), localstack, prefixed, json] {
        assert_eq!(
            parse_confirm_response(body.as_bytes(), &topic()).map(|arn| arn.to_string()),
            Ok(SUBSCRIPTION.into()),
            "{body}"
        );
    }
}

#[test]
fn refusals_give_a_clean_code_and_whether_it_is_final() {
    let xml = |code: &str| {
        format!(
            "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
             <Code>{code}</Code><Message>Invalid token</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        )
    };
    let json = r#"{"Error":{"Code":"InvalidParameter","Message":"Invalid token","Type":"Sender"},"RequestId":"r"}"#;
    for (body, code, permanent) in [
        (xml("InvalidParameter"), "InvalidParameter", true),
        (xml("NotFound"), "NotFound", true),
        (xml("Throttling"), "Throttling", false),
        (
            xml("InternalError\nSet-Cookie: x"),
            "InternalErrorSetCookiex",
            false,
        ),
        (json.to_owned(), "InvalidParameter", true),
    ] {
        let error = parse_confirm_response(body.as_bytes(), &topic()).unwrap_err();
        assert_eq!(error, ConfirmError::Refused { code: code.into() });
        assert_eq!(error.is_permanent(), permanent, "{code}");
    }
}

#[test]
fn what_confirms_nothing_is_an_error() {
    let other = SUBSCRIPTION.replace("MyTopic:", "MyTopic2:");
    let twice = aws_xml("x").replace(
        "x</SubscriptionArn>",
        &format!(
            "{SUBSCRIPTION}</SubscriptionArn><SubscriptionArn>{SUBSCRIPTION}</SubscriptionArn>"
        ),
    );
    let deep = "<a>".repeat(10_000);
    let huge = "<".repeat(CONFIRM_RESPONSE_MAX_BYTES + 1);
    let cases = [
        (aws_xml(&other), ConfirmError::OtherTopic),
        (
            aws_xml("pending confirmation"),
            ConfirmError::NoSubscription,
        ),
        (aws_xml(TOPIC), ConfirmError::NoSubscription),
        (aws_xml(""), ConfirmError::NoSubscription),
        (
            format!("<x><SubscriptionArn>{SUBSCRIPTION}</SubscriptionArn></x>"),
            ConfirmError::NoSubscription,
        ),
        ("{}".into(), ConfirmError::NoSubscription),
        (twice, ConfirmError::Malformed),
        (
            aws_xml(&format!("<![CDATA[{SUBSCRIPTION}]]>")),
            ConfirmError::Malformed,
        ),
        (
            format!("<!DOCTYPE a [<!ENTITY e \"x\">]>{}", aws_xml("&e;")),
            ConfirmError::Malformed,
        ),
        (aws_xml("&e;"), ConfirmError::Malformed),
        ("".into(), ConfirmError::Malformed),
        ("hello".into(), ConfirmError::Malformed),
        ("<html><body>".into(), ConfirmError::Malformed),
        ("{\"a\":".into(), ConfirmError::Malformed),
        (deep, ConfirmError::Malformed),
        (huge, ConfirmError::TooLarge),
    ];
    for (body, expected) in cases {
        assert_eq!(
            parse_confirm_response(body.as_bytes(), &topic()),
            Err(expected),
            "{body:.200}"
        );
    }
    assert_eq!(
        parse_confirm_response(&[0xff, 0xfe], &topic()),
        Err(ConfirmError::Malformed)
    );
}

#[test]
fn the_url_is_built_from_topic_and_token_alone() {
    let token = ConfirmToken::parse("ab&Action=DeleteTopic#/?%\u{fc}").unwrap();
    let url = ConfirmUrl::new(&topic(), &token, &CertOrigin::Aws);
    assert_eq!(
        url.as_str(),
        "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription\
         &TopicArn=arn%3Aaws%3Asns%3Aus-west-2%3A123456789012%3AMyTopic\
         &Token=ab%26Action%3DDeleteTopic%23%2F%3F%25%C3%BC&Version=2010-03-31"
    );
    let china = TopicArn::parse("arn:aws-cn:sns:cn-north-1:123456789012:t").unwrap();
    assert!(
        ConfirmUrl::new(&china, &token, &CertOrigin::Aws)
            .as_str()
            .starts_with("https://sns.cn-north-1.amazonaws.com.cn/?")
    );
    let local = ConfirmUrl::new(&topic(), &token, &"http://127.0.0.1:4566".parse().unwrap());
    assert!(
        local
            .as_str()
            .starts_with("http://127.0.0.1:4566/?Action=ConfirmSubscription&TopicArn=")
    );
    assert_eq!(local.origin(), "http://127.0.0.1:4566");
}

#[test]
fn neither_token_nor_url_is_printed() {
    let token = ConfirmToken::parse("s3cr3t").unwrap();
    let url = ConfirmUrl::new(&topic(), &token, &CertOrigin::Aws);
    let printed = format!("{token:?} {url:?}");
    assert!(!printed.contains("s3cr3t"), "{printed}");
    assert_eq!(serde_json::to_string(&token).unwrap(), "\"s3cr3t\"");
    for bad in ["", "a\nb", &"t".repeat(2049)] {
        assert_eq!(ConfirmToken::parse(bad), Err(ConfirmTokenError));
    }
}

#[test]
fn what_localstack_answered_is_understood() {
    let topic = TopicArn::parse("arn:aws:sns:us-east-1:000000000000:t").unwrap();
    let subscription = "arn:aws:sns:us-east-1:000000000000:t:7139e247-a708-4dba-8398-1d15a5de2dbb";
    for body in [
        include_bytes!("../../tests/data/localstack-answers/confirmed.xml").as_slice(),
        include_bytes!("../../tests/data/localstack-answers/confirmed.json"),
    ] {
        assert_eq!(
            parse_confirm_response(body, &topic).unwrap().as_str(),
            subscription
        );
        // The token alone decides at SNS: asked with another topic, it confirms all the same.
        let asked = TopicArn::parse("arn:aws:sns:us-east-1:000000000000:t2").unwrap();
        assert_eq!(
            parse_confirm_response(body, &asked),
            Err(ConfirmError::OtherTopic)
        );
    }
    let refused = include_bytes!("../../tests/data/localstack-answers/refused.xml");
    let error = parse_confirm_response(refused, &topic).unwrap_err();
    assert_eq!(
        error,
        ConfirmError::Refused {
            code: "InvalidParameter".into()
        }
    );
    assert!(error.is_permanent());
}
