#![allow(clippy::unwrap_used, clippy::expect_used)]

mod documented;
mod properties;
mod refused;

use serde_json::{Value, json};

use super::*;

fn on_attributes(policy: &Value) -> FilterPolicy {
    FilterPolicy::parse("f", policy, FilterPolicyScope::MessageAttributes)
        .unwrap_or_else(|problems| panic!("{policy}: {problems}"))
        .expect("a policy that says something")
}

fn on_body(policy: &Value) -> FilterPolicy {
    FilterPolicy::parse("f", policy, FilterPolicyScope::MessageBody)
        .unwrap_or_else(|problems| panic!("{policy}: {problems}"))
        .expect("a policy that says something")
}

/// `attributes`: name to `[type, value]`.
fn wants_attributes(policy: &Value, attributes: &Value) -> bool {
    let attributes = attributes.as_object().unwrap().iter();
    let attributes = attributes.map(|(name, typed)| Attribute {
        name,
        data_type: typed[0].as_str().unwrap(),
        value: typed[1].as_str().unwrap(),
    });
    on_attributes(policy).wants("{\"store\": \"not looked at\"}", attributes)
}

fn wants_body(policy: &Value, body: &Value) -> bool {
    on_body(policy).wants(&body.to_string(), [])
}

#[test]
fn a_policy_of_no_keys_is_none() {
    for scope in [
        FilterPolicyScope::MessageAttributes,
        FilterPolicyScope::MessageBody,
    ] {
        assert_eq!(FilterPolicy::parse("f", &json!({}), scope), Ok(None));
    }
}

#[test]
fn the_default_scope_is_that_of_amazon_sns() {
    assert_eq!(
        FilterPolicyScope::default(),
        FilterPolicyScope::MessageAttributes
    );
}
