//! The functions that the guide lists, with the results that their documents give.

use serde_json::{Value, json};

use super::super::{EvaluationError, Expression, Scope, budget, sharing_one_budget};

fn scope() -> Scope {
    let event = json!({
        "message": "id:123, id:456",
        "json": {"b": [1, 2.5, null], "a": "ü"},
        "timestamp": "2026-11-24T10:00:00Z",
    });
    Scope::new(&event, &Value::Null, &Value::Null)
}

fn evaluate(source: &str) -> Result<Value, EvaluationError> {
    let expression = Expression::parse(source).unwrap_or_else(|error| panic!("{source} {error}"));
    let first = expression.evaluate(&scope());
    assert_eq!(first, expression.evaluate(&scope()), "{source} is pure");
    first
}

#[track_caller]
fn check(table: &[(&str, Value)]) {
    for (source, expected) in table {
        assert_eq!(evaluate(source).as_ref(), Ok(expected), "{source}");
    }
}

#[track_caller]
fn fails(table: &[(&str, &str)]) {
    for (source, expected) in table {
        let error = evaluate(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

/// <https://pkg.go.dev/github.com/google/cel-go/ext#Regex>.
#[test]
fn regular_expressions_extract_and_replace() {
    check(&[
        (
            "regex.replace('hello world hello', 'hello', 'hi')",
            json!("hi world hi"),
        ),
        ("regex.replace('banana', 'a', 'x', 0)", json!("banana")),
        ("regex.replace('banana', 'a', 'x', 1)", json!("bxnana")),
        ("regex.replace('banana', 'a', 'x', 2)", json!("bxnxna")),
        ("regex.replace('banana', 'a', 'x', -12)", json!("bxnxnx")),
        (
            r"regex.replace('foo bar', '(fo)o (ba)r', r'\2 \1')",
            json!("ba fo"),
        ),
        (r"regex.replace('a', 'a', r'\\\0')", json!(r"\a")),
        ("regex.replace('aab', 'a*', '-')", json!("-b-")),
        ("regex.replace('äö', '', '-')", json!("-ä-ö-")),
        ("regex.extract('hello world', 'hello(.*)')", json!(" world")),
        (
            r"regex.extract('item-A, item-B', r'item-(\w+)').value()",
            json!("A"),
        ),
        ("regex.extract('HELLO', 'hello')", Value::Null),
        (
            "regex.extract('HELLO', 'hello').orValue('none')",
            json!("none"),
        ),
        (
            "{'a': regex.extract('xay', 'x(.)y'), 'b': [regex.extract('', 'x')]}",
            json!({"a": "a", "b": [null]}),
        ),
        (
            r"regex.extractAll(event.message, r'id:\d+')",
            json!(["id:123", "id:456"]),
        ),
        (
            r"regex.extractAll(event.message, r'id:(\d+)')",
            json!(["123", "456"]),
        ),
        ("regex.extractAll('id:123, id:456', 'assa')", json!([])),
        ("regex.extractAll('ab', '(a)|b')", json!(["a"])),
        ("regex.extractAll('añb', '')", json!(["", "", "", ""])),
    ]);
    fails(&[
        (
            "regex.extract('testuser@testdomain', '(.*)@([^.]*)')",
            "more than one capturing group",
        ),
        (
            "regex.extractAll('testuser@testdomain', '(.*)@([^.]*)')",
            "more than one capturing group",
        ),
        (r"regex.replace('test', '(.)', r'\2')", "names group 2"),
        (
            r"regex.replace('id=123', r'id=(?P<value>\d+)', r'value: \values')",
            "backslash",
        ),
        ("regex.extract('a', event.json.a + '(')", "unclosed group"),
        (
            r"regex.extract('a', string(event.json.a) + r'\w{2000}')",
            "exceeds size limit",
        ),
    ]);
}

#[test]
fn digests_are_those_of_their_documents() {
    check(&[
        // RFC 1321, FIPS 180-4, RFC 4231 (test case 2).
        (
            "hex.encode(hash.md5('abc'))",
            json!("900150983cd24fb0d6963f7d28e17f72"),
        ),
        (
            "hex.encode(hash.sha1('abc'))",
            json!("a9993e364706816aba3e25717850c26c9cd0d89d"),
        ),
        (
            "hex.encode(hash.sha256(b'abc'))",
            json!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ),
        (
            "hex.encode(hash.sha512('abc')).startsWith('ddaf35a193617abacc417349ae204131')",
            json!(true),
        ),
        (
            "hex.encode(hash.hmacSha256('Jefe', 'what do ya want for nothing?'))",
            json!("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        ),
        (
            "base64.encode(hash.sha256(''))",
            json!("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ),
        // Bytes become base64 by themselves.
        ("hash.md5('')", json!("1B2M2Y8AsgTpgAmY7PhCfg==")),
        ("hash.sha256('ü') == hash.sha256(bytes('ü'))", json!(true)),
    ]);
}

#[test]
fn encodings_go_there_and_back() {
    check(&[
        ("hex.encode('hi')", json!("6869")),
        (
            "string(hex.decode('6869')) + string(hex.decode('C3bC'))",
            json!("hiü"),
        ),
        ("base64.encode(bytes('hi'))", json!("aGk=")),
        ("string(base64.decode('aGk'))", json!("hi")),
        (
            "json.encode(event.json)",
            json!(r#"{"a":"ü","b":[1,2.5,null]}"#),
        ),
        (
            "json.parse('{\"a\": [1, 2.5, 18446744073709551615, null]}').a",
            json!([1, 2.5, u64::MAX, null]),
        ),
        (
            "json.parse(json.encode(event.json)) == event.json",
            json!(true),
        ),
        (
            "json.encode(duration('90s')) + json.encode(timestamp(0))",
            json!(r#""90s""1970-01-01T00:00:00Z""#),
        ),
        (
            "url.encode('a b/ü?&~._-')",
            json!("a%20b%2F%C3%BC%3F%26~._-"),
        ),
        ("url.decode('a%20b%2F%C3%BC+')", json!("a b/ü+")),
    ]);
    fails(&[
        ("hex.decode('6')", "hex.decode"),
        ("hex.decode('zz')", "hex.decode"),
        ("json.parse('{')", "json.parse"),
        ("json.parse('1 2')", "json.parse"),
        ("url.decode('%ff')", "no UTF-8"),
        ("base64.decode('*')", "base64.decode"),
    ]);
    let deep = format!("size(json.parse('{}'))", "[".repeat(5_000));
    assert!(evaluate(&deep).is_err());
}

#[test]
fn times_are_shown_and_read_as_people_write_them() {
    check(&[
        (
            "timestamp(event.timestamp).format('%d.%m.%Y %H:%M')",
            json!("24.11.2026 10:00"),
        ),
        (
            "timestamp(event.timestamp).format('%d.%m.%Y %H:%M %Z', 'Europe/Berlin')",
            json!("24.11.2026 11:00 CET"),
        ),
        // Summer time, and an offset.
        (
            "timestamp('2026-07-01T22:30:00Z').format('%A %F %T %z', 'Europe/Berlin')",
            json!("Thursday 2026-07-02 00:30:00 +0200"),
        ),
        (
            "timestamp('2026-07-01T22:30:00Z').format('%F %R', '-05:30')",
            json!("2026-07-01 17:00"),
        ),
        ("timestamp(0).format('%s %j %%')", json!("0 001 %")),
        // What CloudWatch writes is no RFC 3339.
        (
            "time.parse('2026-11-24T10:00:00.250+0000', '%Y-%m-%dT%H:%M:%S%.f%z')",
            json!("2026-11-24T10:00:00.250Z"),
        ),
        (
            "time.parse('24/Nov/2026:11:00:00 +0100', '%d/%b/%Y:%H:%M:%S %z') == timestamp(event.timestamp)",
            json!(true),
        ),
        (
            "time.parse('2026-11-24 10:00', '%Y-%m-%d %H:%M')",
            json!("2026-11-24T10:00:00Z"),
        ),
        (
            "time.parse('20261124', '%Y%m%d')",
            json!("2026-11-24T00:00:00Z"),
        ),
        (
            "timestamp(event.timestamp) + duration('90m')",
            json!("2026-11-24T11:30:00Z"),
        ),
        (
            "timestamp(event.timestamp) - timestamp('2026-11-24T09:59:59.5Z')",
            json!("0.5s"),
        ),
        ("duration('-1.5s')", json!("-1.5s")),
        (
            "timestamp(event.timestamp).getHours('Asia/Kolkata')",
            json!(15),
        ),
        ("timestamp(event.timestamp).getDayOfWeek()", json!(2)),
        ("int(timestamp(event.timestamp))", json!(1_795_514_400)),
        (
            "string(timestamp(event.timestamp))",
            json!("2026-11-24T10:00:00Z"),
        ),
    ]);
    fails(&[
        ("timestamp(0).format('%Q')", "no strftime format"),
        ("timestamp(0).format('%F', 'Mars/Base')", "no time zone"),
        ("time.parse('yesterday', '%F')", "no time of this format"),
        ("time.parse('2026-13-01', '%F')", "no time of this format"),
    ]);
}

/// Results are bounded, and so is the way to them.
#[test]
fn nothing_here_multiplies_unseen() {
    let text = "a".repeat(200 * 1024);
    let message = format!("{text}b");
    let numbers = format!("[{}1]", "1,".repeat(100 * 1024));
    let event = json!({"message": message, "json": {"numbers": numbers, "text": text}});
    let scope = Scope::new(&event, &Value::Null, &Value::Null);
    for greedy in [
        "regex.replace(event.json.text, 'a', event.json.text).size()",
        "lists.range(10000).map(x, regex.extract('a', 'a' + string(x)))",
        "lists.range(10000).map(x, hash.sha256(event.message))",
        "lists.range(10000).map(x, json.parse(event.json.numbers))",
        "lists.range(10000).map(x, json.encode(event.json))",
        "lists.range(10000).map(x, url.encode(event.message).size())",
        "lists.range(100).map(x, timestamp(0).format(event.json.text))",
        // A variable that is called like a namespace changes nothing.
        "[event.message].map(math, math.replace('a', math)).size()",
        "[event.message].map(json, json.split('').join(json)).size()",
    ] {
        let started = std::time::Instant::now();
        let error = Expression::parse(greedy)
            .unwrap()
            .evaluate(&scope)
            .unwrap_err();
        assert!(
            matches!(error, EvaluationError::TooExpensive { .. }),
            "{error}"
        );
        assert!(
            started.elapsed().as_secs() < 20,
            "{greedy}: {:?}",
            started.elapsed()
        );
    }
    // Each match looks at all that follows: with a tenth of the budget, for unoptimised builds go through a text slowly.
    let started = std::time::Instant::now();
    let all = Expression::parse("regex.extractAll(event.json.text, 'a.*b|a').size()").unwrap();
    let error = sharing_one_budget(|| {
        budget::within(|| budget::spend(1_800_000)).unwrap();
        all.evaluate(&scope).unwrap_err()
    });
    assert!(
        matches!(error, EvaluationError::TooExpensive { .. }),
        "{error}"
    );
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    for fair in [
        "regex.extract(event.message, 'a(b)').value()",
        "regex.replace(event.message, 'a+', '').size()",
        "regex.extractAll(event.message.substring(0, 5000), 'a').size()",
        "hash.sha256(event.message)",
        "json.parse(event.json.numbers).size()",
        "url.decode(url.encode(event.message)).size()",
        "hex.decode(hex.encode(event.message)).size()",
    ] {
        let value = Expression::parse(fair).unwrap().evaluate(&scope);
        assert!(value.is_ok(), "{fair}: {:?}", value.unwrap_err());
    }
}
