#![allow(clippy::unwrap_used, clippy::expect_used)]

use base64::{Engine as _, engine::general_purpose as base64_of};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::limits;

mod written;

fn masks(values: &[&str]) -> Masks {
    let mut masks = Masks::default();
    for value in values {
        masks.add(&Secret::new(value.as_bytes().to_vec()));
    }
    masks
}

/// What is left of `text`.
fn masked(values: &[&str], text: &str) -> String {
    let masked = masks(values).text(text);
    masked.unwrap_or_else(|| text.to_owned())
}

#[test]
fn a_value_is_found_as_it_is_and_encoded() {
    let value = "p/w \"+é<x>&~";
    let standard = |text: &str| base64_of::STANDARD.encode(text);
    let table = [
        value.to_owned(),
        json!(value).to_string(),
        json!(json!(value).to_string()).to_string(),
        // PHP, Go and Python write JSON so.
        r#"p\/w \"+\u00e9<x>&~"#.to_owned(),
        r#"p/w \"+é\u003cx\u003e\u0026~"#.to_owned(),
        r#"p/w \"+\u00e9<x>&~"#.to_owned(),
        "p%2Fw%20%22%2B%C3%A9%3Cx%3E%26~".to_owned(),
        "p%2fw%20%22%2b%c3%a9%3cx%3e%26~".to_owned(),
        "p%2Fw+%22%2B%C3%A9%3Cx%3E%26%7E".to_owned(),
        "p/w%20%22+%C3%A9%3Cx%3E&~".to_owned(),
        standard(value),
        base64_of::URL_SAFE_NO_PAD.encode(value),
        data_encoding::HEXLOWER.encode(value.as_bytes()),
        data_encoding::HEXUPPER.encode(value.as_bytes()),
    ];
    for text in table {
        let found = masked(&[value], &format!("<{text}>"));
        let rest = found.replace(HIDDEN, "").replace(['"', '\\', '='], "");
        assert_eq!(rest, "<>", "{text} became {found}");
    }
    for before in ["u:", "user:", "alice:"] {
        let found = masked(&[value], &standard(&format!("{before}{value}")));
        let letters = found.trim_end_matches('=').len();
        assert!(
            found.contains(HIDDEN) && letters <= HIDDEN.len() + 12,
            "{found}"
        );
    }
}

#[test]
fn white_space_around_a_value_is_not_needed_to_find_it() {
    assert_eq!(masked(&["s3cret-value\n"], "got s3cret-value!"), "got ***!");
    assert_eq!(masked(&["  s3cret-value\r\n"], "s3cret-value"), "***");
}

#[test]
fn what_is_too_short_is_not_searched_for() {
    assert_eq!(masked(&["seven77"], "seven77"), "seven77");
    assert_eq!(masked(&["seven77 \n"], "seven77"), "seven77");
    assert_eq!(masked(&["eight888"], "eight888"), "***");
    assert_eq!(masked(&["", " \n"], "anything"), "anything");
}

#[test]
fn values_that_overlap_are_masked_as_one() {
    let both = ["abcdefgh-1", "gh-1-ijklmnop"];
    assert_eq!(masked(&both, "x abcdefgh-1-ijklmnop y"), "x *** y");
    let within = ["outer-inner-outer", "inner-outer"];
    assert_eq!(masked(&within, "outer-inner-outer inner-outer"), "*** ***");
    assert_eq!(masked(&within, "untouched"), "untouched");
}

#[test]
fn values_are_taken_out_of_json_of_any_shape() {
    let masks = masks(&["s3cret-value", "12345678"]);
    let mut value = json!({
        "a": ["s3cret-value", {"my s3cret-value": 1}],
        "pin": 12345678,
        "n": 7, "t": true, "z": null, "plain": "text",
    });
    assert!(masks.value(&mut value));
    assert_eq!(
        value,
        json!({
            "a": ["***", {"my ***": 1}],
            "pin": "***",
            "n": 7, "t": true, "z": null, "plain": "text",
        })
    );
    assert!(!masks.value(&mut value), "it has none any more");
}

#[test]
fn nothing_shows_a_value() {
    let secret = Secret::new(b"s3cret-value".to_vec());
    let mut masks = Masks::default();
    masks.add(&secret);
    masks.add(&secret);
    assert_eq!(masks.0.len(), 1);
    let secrets: Secrets = [("my-key".parse().unwrap(), secret.clone())]
        .into_iter()
        .collect();
    let shown = format!("{secret:?} {masks:?} {secrets:?}");
    assert!(!shown.contains("s3cret-value"), "{shown}");
}

proptest! {
    #[test]
    fn no_encoding_of_a_value_stays(value in "[ -~é€😀]{8,40}", before in ".{0,9}", after in ".{0,9}") {
        let trimmed = value.trim();
        prop_assume!(trimmed.len() >= limits::SECRET_MIN_BYTES);
        let masks = masks(&[&value]);
        let around = format!("{before}{value}{after}");
        for text in [
            around.clone(),
            json!({ "x": around }).to_string(),
            percent_encoding::utf8_percent_encode(&around, percent_encoding::NON_ALPHANUMERIC).to_string(),
            data_encoding::HEXLOWER.encode(around.as_bytes()),
        ] {
            prop_assert!(masks.text(&text).is_some(), "{}", text);
        }
        // What is left of the base 64 does not tell the value.
        let coded = base64_of::STANDARD.encode(&around);
        prop_assert!(masks.text(&coded).is_some_and(|left| left.contains(HIDDEN)));
    }

    #[test]
    fn masking_leaves_the_rest_as_it_is(before in "[a-m ]{0,40}", after in "[a-m ]{0,40}") {
        let text = format!("{before}NOPQRSTUVW{after}");
        prop_assert_eq!(masked(&["NOPQRSTUVW"], &text), format!("{before}***{after}"));
    }
}
