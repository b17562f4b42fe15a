//! Policies and messages, and who wants what. Where LocalStack decides otherwise than the pages of AWS say, Signalbox does
//! as the pages say, and each such difference stands here beside the words that it is against.

use serde_json::{Value, json};

/// What a policy looks at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    Attributes,
    Body,
}

impl Scope {
    pub(super) fn of_amazon(self) -> &'static str {
        match self {
            Self::Attributes => "MessageAttributes",
            Self::Body => "MessageBody",
        }
    }

    pub(super) fn of_signalbox(self) -> &'static str {
        match self {
            Self::Attributes => "FILTER_POLICY_SCOPE_MESSAGE_ATTRIBUTES",
            Self::Body => "FILTER_POLICY_SCOPE_MESSAGE_BODY",
        }
    }
}

/// A policy and messages.
pub(super) struct Case {
    pub(super) policy: Value,
    pub(super) scope: Scope,
    pub(super) inputs: Vec<Input>,
}

/// A message, who wants it by the pages of AWS, and whether LocalStack lets it through.
pub(super) struct Input {
    body: Value,
    /// Name to `[type, value]`.
    attributes: Value,
    pub(super) wanted: bool,
    pub(super) by_localstack: bool,
}

impl Input {
    /// As boto3 takes it.
    pub(super) fn message(&self) -> Value {
        let text = match &self.body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let attributes = self.attributes.as_object().into_iter().flatten();
        let attributes = attributes.map(|(name, typed)| {
            let value = match typed[0].as_str() {
                Some("Binary") => "BinaryValue",
                _ => "StringValue",
            };
            let attribute = json!({"DataType": typed[0], value: typed[1]});
            (name.clone(), attribute)
        });
        let attributes: serde_json::Map<_, _> = attributes.collect();
        json!({"message": text, "attributes": attributes})
    }
}

impl Case {
    fn new(scope: Scope, policy: Value) -> Self {
        Self {
            policy,
            scope,
            inputs: Vec::new(),
        }
    }

    fn input(mut self, input: &Value, wanted: bool, by_localstack: bool) -> Self {
        let (body, attributes) = match self.scope {
            Scope::Attributes => (json!("hello"), input.clone()),
            Scope::Body => (input.clone(), json!({})),
        };
        self.inputs.push(Input {
            body,
            attributes,
            wanted,
            by_localstack,
        });
        self
    }

    /// Both want these.
    fn wanted<const N: usize>(self, inputs: [Value; N]) -> Self {
        inputs
            .iter()
            .fold(self, |case, input| case.input(input, true, true))
    }

    /// Neither wants these.
    fn unwanted<const N: usize>(self, inputs: [Value; N]) -> Self {
        inputs
            .iter()
            .fold(self, |case, input| case.input(input, false, false))
    }

    /// LocalStack alone lets these through.
    fn only_localstack<const N: usize>(self, inputs: [Value; N]) -> Self {
        inputs
            .iter()
            .fold(self, |case, input| case.input(input, false, true))
    }

    /// LocalStack alone does not.
    fn only_amazon<const N: usize>(self, inputs: [Value; N]) -> Self {
        inputs
            .iter()
            .fold(self, |case, input| case.input(input, true, false))
    }
}

/// An attribute `a` of a type, beside another.
fn a(kind: &str, value: &str) -> Value {
    json!({"a": [kind, value], "other": ["String", "x"]})
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = of_attributes();
    cases.extend(of_bodies());
    cases.extend(differences_of_attributes());
    cases.extend(differences_of_bodies());
    cases
}

fn of_attributes() -> Vec<Case> {
    let on = |policy| Case::new(Scope::Attributes, policy);
    vec![
        on(json!({"a": ["rugby", {"prefix": "bas"}, {"suffix": "ball"}, {"equals-ignore-case": "tennis"}]}))
            .wanted([
                a("String", "rugby"),
                a("String", "basket"),
                a("String", "football"),
                a("String", "TeNNiS"),
                a("String.Array", r#"["golf", "rugby"]"#),
            ])
            .unwanted([
                a("String", "Rugby"),
                a("String", "golf"),
                a("String.Array", r#"["golf", "hockey"]"#),
                json!({"b": ["String", "rugby"]}),
            ]),
        on(json!({"a": [{"anything-but": ["rugby", "tennis"]}]}))
            .wanted([a("String", "golf"), a("String.Array", r#"["rugby", "golf"]"#)])
            .unwanted([
                a("String", "rugby"),
                a("String.Array", r#"["rugby", "tennis"]"#),
                json!({"b": ["String", "golf"]}),
            ]),
        on(json!({"a": [{"anything-but": {"prefix": "order-"}}, {"exists": false}]}))
            .wanted([a("String", "order_7"), json!({"b": ["String", "order-7"]})])
            .unwanted([a("String", "order-7")]),
        on(json!({"a": [{"numeric": [">", 0, "<=", 150]}, {"numeric": ["=", 301.5]}]}))
            .wanted([a("Number", "0.5"), a("Number", "150"), a("Number", "3.015e2")])
            .unwanted([a("Number", "0"), a("Number", "150.5"), a("Number", "-1"), a("String", "x")]),
        on(json!({"a": [{"cidr": "10.0.0.0/24"}, {"cidr": "2001:db8::/32"}]}))
            .wanted([a("String", "10.0.0.255"), a("String", "2001:db8::7")])
            .unwanted([a("String", "10.0.1.0"), a("String", "2001:db9::"), a("String", "x")]),
        on(json!({"a": [{"exists": true}], "b": [{"exists": false}]}))
            .wanted([a("String", "x"), a("Number", "0")])
            .unwanted([json!({"b": ["String", "x"]}), json!({"a": ["String", "x"], "b": ["String", "x"]})]),
        on(json!({"a": ["x"], "$or": [{"b": ["y"]}, {"c": [{"prefix": "z"}], "d": ["w"]}]}))
            .wanted([
                json!({"a": ["String", "x"], "b": ["String", "y"]}),
                json!({"a": ["String", "x"], "c": ["String", "zz"], "d": ["String", "w"]}),
            ])
            .unwanted([
                json!({"a": ["String", "x"], "c": ["String", "zz"]}),
                json!({"b": ["String", "y"]}),
                json!({"a": ["String", "x"]}),
            ]),
    ]
}

fn of_bodies() -> Vec<Case> {
    let on = |policy| Case::new(Scope::Body, policy);
    vec![
        on(json!({"object": {"key": [{"prefix": "auto-"}, "hard"], "nested": [{"exists": false}]}, "test": [{"exists": false}]}))
            .wanted([json!({"object": {"key": "auto-test"}}), json!({"object": {"key": "hard"}})])
            .unwanted([
                json!({"object": {"key": "test-auto"}}),
                json!({"object": {"key": "auto-test"}, "test": "there"}),
                json!({"object": {"key": "auto-test", "nested": "there"}}),
                json!({"object": {"test": "auto-test"}}),
                json!("no JSON"),
                json!("\"hard\""),
                json!("[{\"object\": {\"key\": \"hard\"}}]"),
            ]),
        on(json!({"object.nested.test": ["v"]}))
            .wanted([
                json!({"object": {"nested": {"test": "v"}}}),
                json!({"object.nested": {"test": "v"}}),
                json!({"object": {"nested.test": "v"}}),
                json!({"object.nested.test": "v"}),
            ])
            .unwanted([json!({"object": {"nested": {"test": "w"}}}), json!({"test": "v"})]),
        on(json!({"Records": {"s3": {"object": {"key": [{"prefix": "auto-"}]}}, "eventName": [{"prefix": "ObjectCreated:"}]}}))
            .wanted([
                json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": "auto-1"}}}]}),
                json!({"Records": [
                    {"eventName": "ObjectCreated:Put", "s3": {"object": [[{"key": "auto-1"}]]}},
                    {"eventName": "ObjectRemoved:Delete", "s3": {"object": {"key": "home-1"}}},
                ]}),
            ])
            .unwanted([
                json!({"Records": [{"eventName": "ObjectRemoved:Delete", "s3": {"object": {"key": "auto-1"}}}]}),
                json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": "home-1"}}}]}),
                json!({"Records": []}),
            ]),
        // "Each property name in the filter policy matches a message body property name": each alone, whichever element of an
        // array has it. event-ruler, of which AWS says nowhere that Amazon SNS uses it, wants one element to have both.
        on(json!({"r": {"a": [1], "b": [2]}}))
            .wanted([
                json!({"r": [{"a": 1, "b": 2}]}),
                json!({"r": [{"a": 1, "b": 0}, {"a": 0, "b": 2}]}),
                json!({"r": [{"a": 1}, {"b": 2}]}),
                json!({"r": [[{"a": 1}], {"b": [2]}]}),
            ])
            .unwanted([json!({"r": [{"a": 1, "b": 0}, {"a": 1}]}), json!({"r": [{"a": 2, "b": 1}]})]),
        on(json!({"n": [1.5, null, true, {"numeric": ["<", -1]}]}))
            .wanted([json!({"n": 1.5}), json!({"n": null}), json!({"n": true}), json!({"n": -2}), json!({"n": [7, 1.5]})])
            .unwanted([json!({"n": 0}), json!({"n": false}), json!({"m": 1.5})]),
        on(json!({
            "$or": [{"metric": ["cpu", "latency"]}, {"space": ["ec2"]}],
            "detail": {"scope": ["Service"], "$or": [{"source": ["watch"]}, {"type": ["alarm"]}]},
        }))
        .wanted([
            json!({"metric": "cpu", "detail": {"scope": "Service", "source": "watch"}}),
            json!({"space": "ec2", "detail": {"scope": "Service", "type": "alarm"}}),
        ])
        .unwanted([
            json!({"metric": "cpu", "detail": {"scope": "Service", "type": "watch"}}),
            json!({"metric": "cpu", "detail": {"scope": "Service"}}),
            json!({"metric": "cpu", "scope": "Service", "source": "watch"}),
            json!({"space": "cpu", "detail": {"scope": "Service", "source": "watch"}}),
        ]),
    ]
}

fn differences_of_attributes() -> Vec<Case> {
    let on = |policy| Case::new(Scope::Attributes, policy);
    vec![
        // "You must double-escape certain special characters": LocalStack compares them as they are.
        on(json!({"a": [r#"say \"hi\""#, "plain"]}))
            .wanted([a("String", "plain")])
            .only_amazon([a("String", r#"say "hi""#)])
            .only_localstack([a("String", r#"say \"hi\""#)]),
        // "Numeric values aren't enclosed in double quotation marks", strings are: LocalStack takes the one for the other.
        on(json!({"a": ["100", {"prefix": "2"}]}))
            .wanted([a("String", "100")])
            .only_localstack([a("Number", "100"), a("Number", "200")]),
        on(json!({"a": [{"numeric": [">", 0]}]}))
            .wanted([a("Number", "100")])
            // "The value can range from -10⁹ to 10⁹, with five digits of accuracy after the decimal point."
            .only_localstack([
                a("String", "100"),
                a("Number", "1000000001"),
                a("Number", "0.000001"),
            ]),
        // "{"Type": "Number", "Value": 100}" is not "anything-but": [100, 500]; and 100 is [100].
        on(json!({"a": [{"anything-but": [100, 500]}]}))
            .wanted([a("Number", "101")])
            .only_localstack([a("Number", "100")]),
        on(json!({"a": [100, "x"]}))
            .wanted([a("String", "x")])
            .only_amazon([a("Number", "100")]),
        // "Amazon SNS ignores message attributes with the Binary data type."
        on(json!({"a": [{"exists": true}]}))
            .wanted([a("String", "x")])
            .only_localstack([a("Binary", "x")]),
        // The same, the other way round. (That it matches no message without any attribute cannot be compared: LocalStack 4.3
        // fails on those.)
        on(json!({"a": [{"exists": false}]}))
            .wanted([json!({"b": ["String", "x"]})])
            .only_amazon([a("Binary", "x")]),
    ]
}

fn differences_of_bodies() -> Vec<Case> {
    let on = |policy| Case::new(Scope::Body, policy);
    vec![
        // "The key must have a non-null and non-empty value."
        on(json!({"a": [{"exists": true}]}))
            .wanted([json!({"a": 0}), json!({"a": [null, "x"]})])
            .unwanted([json!({"a": []}), json!({"a": {"b": 1}})])
            .only_localstack([json!({"a": null}), json!({"a": ""})]),
        // "Messages that don't include the specified property": not those of which only some part does not.
        on(json!({"r": {"a": [{"exists": false}]}}))
            .wanted([json!({"r": {"b": 1}})])
            .unwanted([json!({"r": {"a": 1}})])
            .only_localstack([json!({"r": [{"a": 1}, {"b": 2}]}), json!({})]),
        // A text is no number, and a boolean neither.
        on(json!({"a": [{"numeric": [">=", 1]}, 1]}))
            .wanted([json!({"a": 1})])
            .only_localstack([json!({"a": "2"}), json!({"a": true})]),
        // "It matches any … values that don't include any of the policy property values": null is one of those.
        on(json!({"a": [{"anything-but": ["x"]}]}))
            .wanted([json!({"a": "y"}), json!({"a": 1})])
            .unwanted([json!({"a": "x"})])
            .only_amazon([json!({"a": null})]),
    ]
}

/// Policies, whether Signalbox takes them as AWS's pages say, and whether LocalStack does.
pub(super) const POLICIES: &[(&str, Scope, bool, bool)] = &[
    (
        r#"{"a": ["x", 1, true, null, {"prefix": "x"}]}"#,
        Scope::Attributes,
        true,
        true,
    ),
    (r#"{"a": {"b": ["x"]}}"#, Scope::Body, true, true),
    (r#"{"a": {"b": ["x"]}}"#, Scope::Attributes, false, false),
    (r#"{"a": "x"}"#, Scope::Body, false, false),
    (r#"{"a": []}"#, Scope::Body, false, false),
    (r#"{"a": [["x"]]}"#, Scope::Body, false, false),
    (r#"{"a": [{"wrong": true}]}"#, Scope::Body, false, false),
    (
        r#"{"a": [{"prefix": "x", "suffix": "y"}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (r#"{"a": [{"suffix": 100}]}"#, Scope::Body, false, false),
    (r#"{"a": [{"exists": "no"}]}"#, Scope::Body, false, false),
    (
        r#"{"a": [{"anything-but": {"exists": false}}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [{"anything-but": {"prefix": false}}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (r#"{"a": [{"numeric": []}]}"#, Scope::Body, false, false),
    (
        r#"{"a": [{"numeric": ["=", "000"]}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [{"numeric": ["<", 100, ">", 10]}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [{"numeric": [">", 3, "<", 1]}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [{"numeric": [">", 20, "<", 30, "<", 50]}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [{"cidr": "10.0.0.0"}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [{"cidr": "10.0.0.0/x"}]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [1], "b": [1], "c": [1], "d": [1], "e": [1], "f": [1]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": {"b": {"c": [1, 2, 3, 4]}}, "d": {"e": [1, 2, 3]}}"#,
        Scope::Body,
        true,
        true,
    ),
    (
        r#"{"a": {"b": {"c": [1, 2, 3, 4]}}, "d": {"e": [1, 2, 3]}, "f": [1, 2, 3]}"#,
        Scope::Body,
        false,
        false,
    ),
    (
        r#"{"a": [1, 2, 3], "$or": [{"b": [1, 2, 3, 4, 5, 6]}, {"c": [1, 2, 3, 4], "$or": [{"d": [1, 2, 3, 4]}, {"e": [1, 2, 3, 4, 5, 6, 7]}]}]}"#,
        Scope::Attributes,
        true,
        true,
    ),
    (
        r#"{"a": [1, 2, 3, 4], "$or": [{"b": [1, 2, 3, 4, 5, 6]}, {"c": [1, 2, 3, 4], "$or": [{"d": [1, 2, 3, 4]}, {"e": [1, 2, 3, 4]}]}]}"#,
        Scope::Attributes,
        false,
        false,
    ),
    // "anything-but wildcard", "anything-but suffix", "Wildcard" of "String value matching".
    (
        r#"{"a": [{"wildcard": "*ball"}]}"#,
        Scope::Body,
        true,
        false,
    ),
    (
        r#"{"a": [{"anything-but": {"wildcard": "*ball"}}]}"#,
        Scope::Body,
        true,
        false,
    ),
    (
        r#"{"a": [{"anything-but": {"suffix": "ball"}}]}"#,
        Scope::Body,
        true,
        false,
    ),
    // "The value can range from -10⁹ to 10⁹, with five digits of accuracy after the decimal point."
    (r#"{"a": [1000000001]}"#, Scope::Body, false, true),
    (
        r#"{"a": [{"numeric": ["=", 0.000001]}]}"#,
        Scope::Body,
        false,
        true,
    ),
    // "For a nested policy, only leaf keys are counted towards the five key limit": LocalStack counts those at the top.
    (
        r#"{"a": {"b": [1], "c": [1], "d": [1], "e": [1], "f": [1], "g": [1]}}"#,
        Scope::Body,
        false,
        true,
    ),
    // "Failure to double-escape these characters will result in the filter policy not matching."
    (r#"{"a": ["say \"hi\""]}"#, Scope::Attributes, false, true),
    // "When all of these conditions are not met, "$or" is treated as a regular attribute name."
    (
        r#"{"$or": [{"prefix": "a"}, {"suffix": "b"}]}"#,
        Scope::Body,
        true,
        false,
    ),
];
