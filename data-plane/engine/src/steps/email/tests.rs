#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::workflow::{SmtpLogin, SmtpTls};

use super::*;

fn template(text: &str) -> Template {
    Template::parse(text).unwrap()
}

fn step() -> EmailStep {
    EmailStep {
        server: SmtpServer {
            host: template("smtp.example.com"),
            port: None,
            tls: SmtpTls::StartTls,
            login: Some(SmtpLogin {
                username: template("s3cret-user"),
                password: template("s3cret-password"),
            }),
            ca_certificate: None,
        },
        from: template("Signalbox <box@example.com>"),
        to: vec![template("${{ event.json.to }}")],
        cc: Vec::new(),
        bcc: Vec::new(),
        reply_to: Vec::new(),
        subject: template("Alarm: ${{ event.subject }}"),
        text: Some(template("line\r\nline")),
        html: None,
        headers: [("X-Alarm".to_owned(), template("${{ event.json.alarm }}"))].into(),
    }
}

fn begin(event: &Value) -> Result<(Value, EmailMessage), Failure> {
    let scope = Scope::new(
        &json!({"json": event, "subject": event["subject"]}),
        &Value::Null,
        &Value::Null,
    );
    match step().begin(&scope, Timestamp::UNIX_EPOCH)? {
        Begin::Attempt {
            input,
            effect: EffectKind::Email(message),
        } => Ok((input, *message)),
        _ => panic!("an email step needs an attempt"),
    }
}

#[test]
fn recipients_are_addresses_or_lists_of_them() {
    let to = |to: Value| begin(&json!({"to": to, "subject": "s", "alarm": "a"}));
    let (input, message) = to(json!(["a@x", "", "b@x"])).unwrap();
    assert_eq!(message.to, ["a@x", "b@x"]);
    assert_eq!(message.server.port, 587);
    let shown = format!("{message:?} {input}");
    assert!(!shown.contains("s3cret"), "{shown}");
    assert_eq!(input["subject"], "Alarm: s");
    assert_eq!(to(json!("a@x, b@x")).unwrap().1.to, ["a@x, b@x"]);
    for (wrong, told) in [
        (json!(null), "no recipient"),
        (json!([]), "no recipient"),
        (json!(7), "neither an address"),
        (json!([["a@x"]]), "neither an address"),
        (json!(vec!["a@x"; 101]), "at most 100"),
    ] {
        let failure = to(wrong).unwrap_err();
        assert_eq!(failure.code, codes::INVALID_REQUEST);
        assert!(failure.message.contains(told), "{failure}");
    }
}

#[test]
fn nothing_begins_another_header_or_command() {
    let fine = json!({"to": "a@x", "subject": "s", "alarm": "a"});
    for (field, value) in [
        ("to", json!("a@x\r\nBcc: b@x")),
        ("to", json!(["a@x>\r\nDATA"])),
        ("subject", json!("s\nBcc: b@x")),
        ("subject", json!("s\rX: y")),
        ("alarm", json!("a\r\n\r\nbody")),
        ("alarm", json!("x".repeat(HEADER_MAX_BYTES + 1))),
    ] {
        let mut event = fine.clone();
        event[field] = value;
        let failure = begin(&event).unwrap_err();
        assert_eq!(failure.code, codes::INVALID_REQUEST, "{field}");
    }
    // The text may have lines.
    assert_eq!(begin(&fine).unwrap().1.text.unwrap(), "line\r\nline");
}

#[test]
fn the_output_tells_who_was_refused() {
    let receipt = EmailReceipt {
        message_id: "<k@example.com>".to_owned(),
        accepted: vec!["a@x".to_owned()],
        refused: vec![RefusedRecipient {
            address: "b@x".to_owned(),
            code: 550,
            message: "no such user".to_owned(),
        }],
        reply: "250 queued".to_owned(),
    };
    let output = step().conclude(Outcome::Email(receipt)).unwrap();
    assert_eq!(
        output,
        json!({
            "messageId": "<k@example.com>",
            "accepted": ["a@x"],
            "refused": [{"address": "b@x", "code": 550, "message": "no such user"}],
            "reply": "250 queued",
        })
    );
}
