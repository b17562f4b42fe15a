#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;

fn store() -> Value {
    // RFC 9535 §1.5.
    json!({"store": {
        "book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
            {"category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99}
        ],
        "bicycle": {"color": "red", "price": 399}
    }})
}

fn query(path: &str, document: &Value) -> Value {
    let path = JsonPath::parse(path).unwrap_or_else(|error| panic!("{path} {error}"));
    path.query(document, false).unwrap()
}

/// The examples of RFC 9535, table 2.
#[test]
fn the_examples_of_the_standard_give_what_it_says() {
    let store = store();
    let book = |n: usize| store["store"]["book"][n].clone();
    for (path, expected) in [
        (
            "$.store.book[*].author",
            json!([
                "Nigel Rees",
                "Evelyn Waugh",
                "Herman Melville",
                "J. R. R. Tolkien"
            ]),
        ),
        ("$.store..price", json!([399, 8.95, 12.99, 8.99, 22.99])),
        ("$..book[2]", json!([book(2)])),
        ("$..book[2].author", json!(["Herman Melville"])),
        ("$..book[2].publisher", json!([])),
        ("$..book[-1]", json!([book(3)])),
        ("$..book[0,1]", json!([book(0), book(1)])),
        ("$..book[:2]", json!([book(0), book(1)])),
        ("$..book[?@.isbn]", json!([book(2), book(3)])),
        ("$..book[?@.price<10]", json!([book(0), book(2)])),
        (
            "$.store.book[?match(@.author, 'J.*')].title",
            json!(["The Lord of the Rings"]),
        ),
        (
            "$.store.book[?search(@.title, '[Ll]ord|D')].price",
            json!([8.99, 22.99]),
        ),
        (
            "$.store.book[?length(@.author) == 10 && @.price < $.store.bicycle.price].title",
            json!(["Sayings of the Century"]),
        ),
        ("$", json!([store])),
    ] {
        assert_eq!(query(path, &store), expected, "{path}");
    }
    assert_eq!(query("$..*", &store).as_array().unwrap().len(), 27);
}

#[test]
fn the_first_is_a_value_or_null() {
    let first = |path: &str| {
        JsonPath::parse(path)
            .unwrap()
            .query(&store(), true)
            .unwrap()
    };
    assert_eq!(first("$..author"), json!("Nigel Rees"));
    assert_eq!(first("$..publisher"), Value::Null);
    // A null that is found is one too.
    assert_eq!(
        JsonPath::parse("$[0]").unwrap().query(&json!([null]), true),
        Ok(Value::Null)
    );
}

#[test]
fn what_is_no_query_is_refused() {
    for (path, expected) in [
        (
            "",
            "is empty; expected a JSONPath query such as $.Records[*].id",
        ),
        (
            "Records[*]",
            "begins without $, which stands for the document",
        ),
        ("$.Records[", "is no JSONPath query (RFC 9535): at position"),
        (
            "$.a[?@.b = 1]",
            "is no JSONPath query (RFC 9535): at position",
        ),
        (
            "$[?nothing(@.a)]",
            "is no JSONPath query (RFC 9535): at position",
        ),
        (
            "$[?match(@.a, @.b)]",
            "match and search take a regular expression that is written out, such as match(@.name, 'a.*')",
        ),
        (
            "$[?match(@.a, $.b['x,y'])]",
            "match and search take a regular expression that is written out, such as match(@.name, 'a.*')",
        ),
        (
            "$[?search(@['x, y'], '(')]",
            "holds a wrong regular expression: unclosed group",
        ),
        (
            r"$[?search(@.a, '\\w{500}')]",
            "holds a wrong regular expression: is too large",
        ),
        (
            &format!("$[?{}@{}]", "(".repeat(200), ")".repeat(200)),
            "nests brackets more than 8 deep",
        ),
        (
            &format!("$.{}", "a".repeat(2000)),
            "has 2002 bytes; at most 1024 are allowed",
        ),
    ] {
        let error = JsonPath::parse(path).map(|_| ()).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{path}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    let started = std::time::Instant::now();
    let deep = format!("$[?{}@.a{}]", "(".repeat(7), ")".repeat(7));
    assert!(JsonPath::parse(&deep).is_ok());
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn texts_say_nothing_of_the_cost() {
    let cost = |path: &str| JsonPath::parse(path).unwrap().cost;
    assert_eq!(cost("$.a['..?$,match(']"), Cost::default());
    assert_eq!(
        cost(r#"$..a[?@.b == '\'..' && search(@.c, "a\\d")]..d[0, 1]"#),
        Cost {
            descents: 2,
            filters: 1,
            commas: 2,
            pattern_units: 200,
            absolutes: 0
        }
    );
    // One value for each item costs nothing more; all of them do.
    assert_eq!(cost("$.a[?@.b == $.c['d'][0]]").absolutes, 0);
    assert_eq!(cost("$.a[?count($..b) > 1]").absolutes, 1);
    assert_eq!(cost("$.a[?$.b == $.c]").absolutes, 1);
}

#[test]
fn what_multiplies_is_stopped_before_it_happens() {
    let deep = (0..60).fold(json!([1]), |deep, _| json!([deep, 1]));
    let wide: Value = (0..20_000).map(|n| json!({"n": n, "s": "a"})).collect();
    let few: Value = wide.as_array().unwrap()[..1_000].iter().cloned().collect();
    for (path, document) in [
        ("$..*..*..*..*", &deep),
        ("$[?count($..n) > 1]", &wide),
        ("$[?$ == $ || $[0] == $[1]]", &wide),
        ("$[?search(@.s, 'a')]", &wide),
        (&format!("$[{}*]", "*,".repeat(400)), &wide),
        ("$[?@[?@[?@[?@ > 1 && $..n]]]]", &wide),
    ] {
        let path = JsonPath::parse(path).unwrap_or_else(|error| panic!("{path} {error}"));
        let started = std::time::Instant::now();
        let error = path.query(document, false).unwrap_err();
        assert!(
            matches!(error, EvaluationError::TooExpensive { .. }),
            "{error}"
        );
        assert!(started.elapsed().as_secs() < 5, "{path:?}");
    }
    for (path, document, count) in [
        ("$[?@.n > 9999]", &wide, 10_000),
        ("$[?@.n == $[5].n]", &wide, 1),
        ("$..n", &wide, 20_000),
        ("$[?match(@.s, 'a|b')]", &few, 1_000),
        ("$..*", &deep, 121),
    ] {
        let found = JsonPath::parse(path)
            .unwrap()
            .query(document, false)
            .unwrap();
        assert_eq!(found.as_array().unwrap().len(), count, "{path}");
    }
    // What is found more than once is too large, not a document that is.
    let large = json!({"a": "x".repeat(400 * 1024)});
    let error = JsonPath::parse("$['a','a','a']")
        .unwrap()
        .query(&large, false)
        .unwrap_err();
    assert!(matches!(error, EvaluationError::TooLarge { .. }), "{error}");
}

/// <https://github.com/jsonpath-standard/jsonpath-compliance-test-suite>.
#[test]
fn the_official_suite_passes() {
    let suite = include_str!("../../../testdata/jsonpath-compliance-test-suite/cts.json");
    let suite: Value = serde_json::from_str(suite).unwrap();
    let mut wrong = Vec::new();
    let tests = suite["tests"].as_array().unwrap();
    for test in tests {
        let selector = test["selector"].as_str().unwrap();
        let found = JsonPath::parse(selector).map(|path| path.query(&test["document"], false));
        let right = match (&test["invalid_selector"], found) {
            (Value::Bool(true), found) => found.is_err(),
            (_, Ok(Ok(found))) => match &test["result"] {
                Value::Null => test["results"].as_array().unwrap().contains(&found),
                result => found == *result,
            },
            _ => false,
        };
        if !right {
            wrong.push(test["name"].as_str().unwrap());
        }
    }
    assert!(tests.len() > 600, "{}", tests.len());
    // What is refused on purpose: patterns that a document brings, or that are none.
    let ours = [
        "functions, match, regex from the document",
        "functions, match, non-string second arg",
        "functions, match, arg is a function expression",
        "functions, search, regex from the document",
        "functions, search, non-string second arg",
        "functions, search, arg is a function expression",
    ];
    assert_eq!(wrong, ours);
}
