//! What a manual run takes.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde_json::{Map, Value};

use crate::{
    expression::Shape,
    limits,
    suggestion::suggestion,
    violation::{Collector, Violation, Violations},
};

/// Length of a name, in bytes.
const NAME_MAX_BYTES: usize = 63;
/// How much of a value that is wrong an error quotes, in characters.
const QUOTED_MAX_CHARS: usize = 64;

/// The inputs that a manual trigger declares; none: it takes any JSON.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs(Vec<Input>);

/// One input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Unique.
    pub name: String,
    /// Of which kind its values are.
    pub kind: InputKind,
    /// Whether a run must give it.
    pub required: bool,
    /// What it is when a run does not give it.
    pub default: Option<Value>,
    /// For people.
    pub description: String,
    /// What it may be; empty: anything of its kind.
    pub values: Vec<Value>,
}

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Text.
    String,
    /// Any number.
    Number,
    /// A number without a fraction.
    Integer,
    /// True or false.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
}

impl InputKind {
    const ALL: [Self; 6] = [
        Self::String,
        Self::Number,
        Self::Integer,
        Self::Boolean,
        Self::Object,
        Self::Array,
    ];

    /// As definitions write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
        }
    }

    fn holds(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Integer, Value::Number(number)) => {
                number.is_i64()
                    || number.is_u64()
                    || number.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            (Self::String, Value::String(_))
            | (Self::Number, Value::Number(_))
            | (Self::Boolean, Value::Bool(_))
            | (Self::Object, Value::Object(_))
            | (Self::Array, Value::Array(_)) => true,
            _ => false,
        }
    }

    /// The value that a command line's word means: a string as it is, everything else as JSON.
    ///
    /// # Errors
    /// When it is no such value.
    pub fn read(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::String => Some(Value::from(text)),
            _ => serde_json::from_str(text).ok(),
        };
        let value = value.filter(|value| self.holds(value));
        value.ok_or_else(|| format!("is {}; expected {self}", quoted(text)))
    }
}

impl fmt::Display for InputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let article = match self {
            Self::Integer | Self::Object | Self::Array => "an",
            Self::String | Self::Number | Self::Boolean => "a",
        };
        write!(f, "{article} {}", self.as_str())
    }
}

impl FromStr for InputKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            if text.is_empty() {
                format!("is missing: expected one of {all}")
            } else {
                let hint = suggestion(text, Self::ALL.map(Self::as_str));
                format!("is {}; expected one of {all}{hint}", quoted(text))
            }
        })
    }
}

impl Inputs {
    /// Inputs, declared at `field`.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn new(field: &str, inputs: Vec<Input>) -> Result<Self, Violations> {
        let mut problems = Collector::default();
        if inputs.len() > limits::MANUAL_INPUTS_MAX {
            let text = format!("at most {} are allowed", limits::MANUAL_INPUTS_MAX);
            problems.add(field, text);
        }
        for (index, input) in inputs.iter().enumerate() {
            let field = format!("{field}[{index}]");
            if !is_name(&input.name) {
                let text =
                    "must match [a-zA-Z_][a-zA-Z0-9_]{0,62}, so that expressions can read it";
                problems.add(format!("{field}.name"), text);
            } else if inputs[..index].iter().any(|other| other.name == input.name) {
                let text = format!("{:?} names another input already", input.name);
                problems.add(format!("{field}.name"), text);
            }
            input.check(&field, &mut problems);
        }
        problems.finish(Some(Self(inputs)))
    }

    /// Whether none is declared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What expressions may know of them, by their names.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<&str, Shape> {
        let shape = |input: &Input| match input.kind {
            InputKind::String => Shape::Text,
            InputKind::Number | InputKind::Integer => Shape::Number,
            InputKind::Boolean => Shape::Boolean,
            InputKind::Object => Shape::Object,
            InputKind::Array => Shape::Array,
        };
        let inputs = self.0.iter();
        inputs
            .map(|input| (input.name.as_str(), shape(input)))
            .collect()
    }

    /// The input called `name`.
    ///
    /// # Errors
    /// That there is none, and which was meant.
    pub fn find(&self, name: &str) -> Result<&Input, String> {
        let found = self.0.iter().find(|input| input.name == name);
        found.ok_or_else(|| {
            let names = self.0.iter().map(|input| input.name.as_str());
            let near = suggestion(name, names.clone());
            let all: Vec<_> = names.collect();
            format!(
                "is no input of this workflow{near} (it takes {})",
                all.join(", ")
            )
        })
    }

    /// What steps read of the input `given`, at `field` of the request: checked, with the defaults. Anything, when no input
    /// is declared; null stands for no input at all.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn accept(&self, field: &str, given: Value) -> Result<Value, Violations> {
        if self.is_empty() {
            return Ok(given);
        }
        let mut values = match given {
            Value::Null => Map::new(),
            Value::Object(values) => values,
            other => {
                let text = format!(
                    "is {}; expected an object of inputs",
                    quoted(&other.to_string())
                );
                return Err(Violations::one(field, text));
            }
        };
        let mut wrong = Vec::new();
        for name in values.keys() {
            if let Err(problem) = self.find(name) {
                wrong.push(Violation::new(format!("{field}.{name}"), problem));
            }
        }
        for input in &self.0 {
            let problem = match (values.get(&input.name), &input.default) {
                (Some(value), _) => input.refuse(value),
                (None, Some(default)) => {
                    values.insert(input.name.clone(), default.clone());
                    None
                }
                (None, None) if input.required => {
                    Some(format!("is missing: expected {}", input.kind))
                }
                (None, None) => None,
            };
            if let Some(problem) = problem {
                wrong.push(Violation::new(format!("{field}.{}", input.name), problem));
            }
        }
        if wrong.is_empty() {
            Ok(Value::Object(values))
        } else {
            Err(Violations(wrong))
        }
    }
}

impl Input {
    fn check(&self, field: &str, problems: &mut Collector) {
        let Self {
            name: _,
            kind,
            required,
            default,
            description,
            values,
        } = self;
        for (index, value) in values.iter().enumerate() {
            if !kind.holds(value) {
                let text = format!("is {}; expected {kind}", quoted(&value.to_string()));
                problems.add(format!("{field}.values[{index}]"), text);
            }
        }
        match default {
            Some(_) if *required => {
                let text = "is set, and the input is required";
                problems.add(format!("{field}.default"), text);
            }
            Some(default) => {
                if let Some(problem) = self.refuse(default) {
                    problems.add(format!("{field}.default"), problem);
                }
            }
            None => {}
        }
        if description.chars().count() > limits::DESCRIPTION_MAX_CHARS {
            let text = format!("has more than {} characters", limits::DESCRIPTION_MAX_CHARS);
            problems.add(format!("{field}.description"), text);
        }
    }

    /// What is wrong with `value`.
    fn refuse(&self, value: &Value) -> Option<String> {
        let shown = || quoted(&value.to_string());
        if !self.kind.holds(value) {
            return Some(format!("is {}; expected {}", shown(), self.kind));
        }
        if self.values.is_empty() || self.values.contains(value) {
            return None;
        }
        let all: Vec<_> = self.values.iter().map(ToString::to_string).collect();
        Some(format!(
            "is {}; expected one of {}",
            shown(),
            all.join(", ")
        ))
    }
}

fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME_MAX_BYTES
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn quoted(text: &str) -> String {
    if text.chars().count() <= QUOTED_MAX_CHARS {
        return text.to_owned();
    }
    let head: String = text.chars().take(QUOTED_MAX_CHARS).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use serde_json::json;

    use super::*;

    fn input(name: &str, kind: InputKind) -> Input {
        Input {
            name: name.to_owned(),
            kind,
            required: false,
            default: None,
            description: String::new(),
            values: Vec::new(),
        }
    }

    fn problems(result: Result<impl Sized, Violations>) -> Vec<String> {
        let violations = result.err().map(|violations| violations.0);
        let all = violations.into_iter().flatten();
        all.map(|violation| violation.to_string()).collect()
    }

    fn deploy() -> Inputs {
        let inputs = vec![
            Input {
                required: true,
                ..input("service", InputKind::String)
            },
            Input {
                default: Some(json!("test")),
                values: vec![json!("test"), json!("live")],
                ..input("stage", InputKind::String)
            },
            input("count", InputKind::Integer),
            input("tags", InputKind::Array),
        ];
        Inputs::new("inputs", inputs).unwrap()
    }

    #[test]
    fn defaults_are_filled_in_and_the_rest_is_left_out() {
        let found = deploy().accept("input", json!({"service": "web", "count": 3.0}));
        assert_eq!(
            found.unwrap(),
            json!({"service": "web", "stage": "test", "count": 3.0})
        );
        assert_eq!(
            Inputs::default().accept("input", json!(7)).unwrap(),
            json!(7)
        );
    }

    #[test]
    fn every_problem_of_an_input_is_told_at_its_place() {
        let given = json!({"servise": "web", "stage": "prod", "count": 1.5, "tags": {}});
        assert_eq!(
            problems(deploy().accept("input", given)),
            [
                "input.servise: is no input of this workflow; did you mean \"service\"? (it takes service, stage, count, \
                 tags)",
                "input.service: is missing: expected a string",
                "input.stage: is \"prod\"; expected one of \"test\", \"live\"",
                "input.count: is 1.5; expected an integer",
                "input.tags: is {}; expected an array",
            ]
        );
        assert_eq!(
            problems(deploy().accept("input", Value::Null)),
            ["input.service: is missing: expected a string"]
        );
        assert_eq!(
            problems(deploy().accept("input", json!([1]))),
            ["input: is [1]; expected an object of inputs"]
        );
    }

    #[test]
    fn wrong_declarations_are_refused() {
        let inputs = vec![
            input("a", InputKind::String),
            input("a", InputKind::String),
            input("1a", InputKind::String),
            input(&"a".repeat(64), InputKind::String),
            Input {
                default: Some(json!(1)),
                required: true,
                ..input("b", InputKind::Integer)
            },
            Input {
                default: Some(json!(3)),
                values: vec![json!(1), json!("2")],
                description: "d".repeat(2049),
                ..input("c", InputKind::Integer)
            },
        ];
        assert_eq!(
            problems(Inputs::new("i", inputs)),
            [
                "i[1].name: \"a\" names another input already",
                "i[2].name: must match [a-zA-Z_][a-zA-Z0-9_]{0,62}, so that expressions can read it",
                "i[3].name: must match [a-zA-Z_][a-zA-Z0-9_]{0,62}, so that expressions can read it",
                "i[4].default: is set, and the input is required",
                "i[5].values[1]: is \"2\"; expected an integer",
                "i[5].default: is 3; expected one of 1, \"2\"",
                "i[5].description: has more than 2048 characters",
            ]
        );
        let many = (0..51).map(|n| input(&format!("i{n}"), InputKind::Number));
        assert_eq!(
            problems(Inputs::new("i", many.collect())),
            ["i: at most 50 are allowed"]
        );
        assert_eq!(
            "text".parse::<InputKind>().unwrap_err(),
            "is text; expected one of string, number, integer, boolean, object, array"
        );
    }

    #[test]
    fn words_are_read_by_their_kind() {
        let read = |kind: InputKind, text| kind.read(text);
        assert_eq!(read(InputKind::String, "7"), Ok(json!("7")));
        assert_eq!(read(InputKind::Integer, "7"), Ok(json!(7)));
        assert_eq!(read(InputKind::Number, "7.5"), Ok(json!(7.5)));
        assert_eq!(read(InputKind::Boolean, "true"), Ok(json!(true)));
        assert_eq!(read(InputKind::Object, r#"{"a":1}"#), Ok(json!({"a": 1})));
        assert_eq!(read(InputKind::Array, "[1]"), Ok(json!([1])));
        for (kind, text) in [
            (InputKind::Integer, "7.5"),
            (InputKind::Integer, "seven"),
            (InputKind::Number, ""),
            (InputKind::Boolean, "yes"),
            (InputKind::Object, "[1]"),
            (InputKind::Array, "{}"),
        ] {
            let problem = kind.read(text).unwrap_err();
            assert_eq!(problem, format!("is {text}; expected {kind}"));
        }
    }
}
