//! What expressions read of secrets, and of the links of approvals.

use serde_json::{Value, json};

use super::*;
use crate::{
    link::ApprovalUrls,
    secret::{HIDDEN, Secret, Secrets},
};

fn secrets() -> Secrets {
    let secret = |id: &str, value: &[u8]| (id.parse().unwrap(), Secret::new(value.to_vec()));
    [
        secret("token", b"s3cret-value"),
        secret("my-key", b"other"),
        secret("raw", &[0xff, 0, 0xfe]),
    ]
    .into_iter()
    .collect()
}

fn scope() -> Scope {
    Scope::new(&json!({"json": {"n": 1}}), &Value::Null, &Value::Null).with_secrets(&secrets())
}

fn hidden() -> Scope {
    scope().hiding_secrets()
}

#[test]
fn each_is_read_by_its_name() {
    for (source, value, id) in [
        ("secrets.token", "s3cret-value", "token"),
        (r#"secrets["token"]"#, "s3cret-value", "token"),
        (r#"secrets["my-key"]"#, "other", "my-key"),
        ("base64.encode(secrets.raw)", "/wD+", "raw"),
        (
            r#"base64.encode(bytes("u:" + secrets.token))"#,
            "dTpzM2NyZXQtdmFsdWU=",
            "token",
        ),
    ] {
        let expression = Expression::parse(source).unwrap();
        let references: Vec<_> = expression.references().collect();
        assert_eq!(references, [Reference::Secret(id.to_owned())], "{source}");
        assert_eq!(expression.evaluate(&scope()).unwrap(), json!(value));
        assert_eq!(expression.evaluate(&hidden()).unwrap(), json!(HIDDEN));
    }
}

#[test]
fn they_are_read_in_no_other_way() {
    for source in [
        "secrets",
        "size(secrets)",
        "secrets[event.name]",
        "secrets.exists(name, true)",
        r#""token" in secrets"#,
        "{'all': secrets}",
    ] {
        let error = Expression::parse(source).unwrap_err();
        assert_eq!(error, ExpressionError::AllSecrets, "{source}");
    }
    let error = Expression::parse("secrets.my-key").unwrap_err();
    assert_eq!(error, ExpressionError::SecretName("my".to_owned()));
    // A variable of a comprehension may be called so, and is none of them.
    let other = Expression::parse("[{'a': 1}].all(secrets, secrets.a == 1)").unwrap();
    assert_eq!(other.references().count(), 0);
}

#[test]
fn what_is_made_of_one_is_hidden_whole_and_the_rest_is_shown() {
    let template =
        Template::parse("v${{ event.json.n }} Basic ${{ secrets.token.substring(0, 5) }}");
    let template = template.unwrap();
    assert_eq!(template.render_text(&scope()).unwrap(), "v1 Basic s3cre");
    assert_eq!(template.render_text(&hidden()).unwrap(), "v1 Basic ***");
    // Even where it could not be made of what stands for it.
    let nested =
        json!({"a": [{"b": "${{ secrets.token.split('-')[1] }}"}], "n": "${{ event.json.n }}"});
    let nested = JsonTemplate::parse(&nested).unwrap();
    assert_eq!(
        nested.render(&scope()).unwrap(),
        json!({"a": [{"b": "value"}], "n": 1})
    );
    assert_eq!(
        nested.render(&hidden()).unwrap(),
        json!({"a": [{"b": "***"}], "n": 1})
    );
}

#[test]
fn no_error_quotes_what_was_made_of_one() {
    let scopes = [
        scope(),
        Scope::new(&Value::Null, &Value::Null, &Value::Null),
    ];
    for source in [
        "int(secrets.token)",
        "secrets.token.substring(0, 99)",
        "secrets.nowhere",
        "{secrets.token: 1}.other",
    ] {
        let expression = Expression::parse(source).unwrap();
        for scope in &scopes {
            let error = expression.evaluate(scope).unwrap_err().to_string();
            assert!(error.starts_with(source), "{error}");
            assert!(error.contains("is not shown"), "{error}");
            assert!(!error.contains("s3cret-value"), "{error}");
        }
    }
}

#[test]
fn links_are_read_by_their_approvals_and_hidden_like_secrets() {
    let urls = ApprovalUrls {
        approve: "https://box.test/approvals/yes".to_owned(),
        reject: "https://box.test/approvals/no".to_owned(),
    };
    assert!(!format!("{urls:?}").contains("box.test"));
    let scope = Scope::new(&Value::Null, &Value::Null, &Value::Null);
    let open = scope
        .clone()
        .with_approvals([("ask".parse().unwrap(), urls)]);
    for (source, value) in [
        (
            "approvals.ask.approveUrl",
            json!("https://box.test/approvals/yes"),
        ),
        (
            r#"approvals["ask"]["rejectUrl"]"#,
            json!("https://box.test/approvals/no"),
        ),
        ("approvals.ask.rejectUrl.substring(0, 5)", json!("https")),
        (
            "approvals.ask",
            json!({
                "approveUrl": "https://box.test/approvals/yes",
                "rejectUrl": "https://box.test/approvals/no",
            }),
        ),
    ] {
        let expression = Expression::parse(source).unwrap();
        let references: Vec<_> = expression.references().collect();
        assert_eq!(
            references,
            [Reference::Approval("ask".to_owned())],
            "{source}"
        );
        assert_eq!(expression.evaluate(&open).unwrap(), value);
        let hidden = open.clone().hiding_secrets();
        assert_eq!(expression.evaluate(&hidden).unwrap(), json!(HIDDEN));
        assert!(expression.evaluate(&scope).is_err(), "{source}");
    }
    let wrong = Expression::parse("int(approvals.ask.approveUrl)").unwrap();
    let error = wrong.evaluate(&open).unwrap_err().to_string();
    assert!(!error.contains("box.test"), "{error}");
    // A variable of a comprehension may be called so, and is none of them.
    let other = Expression::parse("[{'a': 1}].all(approvals, approvals.a == 1)").unwrap();
    assert_eq!(other.references().count(), 0);
}
