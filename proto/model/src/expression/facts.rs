//! What a definition says of what its expressions read: its constants, and the inputs that it declares.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    kinds::Kinds,
    types::{Known, Listed},
};

/// What is known of a definition's constants and inputs, and of when it is evaluated; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'f> {
    /// The constants.
    pub vars: Option<&'f BTreeMap<String, Value>>,
    /// The inputs that it declares, by their names. None: `event.json` may be anything.
    pub inputs: Option<&'f BTreeMap<&'f str, Shape>>,
    /// It is evaluated before the end of the execution is known: `execution` has neither `state` nor `error`.
    pub has_no_end: bool,
}

/// Of which kind an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// A number, whole or not: 2 may come as 2.0.
    Number,
    /// True or false.
    Boolean,
    /// An object.
    Object,
    /// An array.
    Array,
}

impl<'f> Facts<'f> {
    /// Whether an expression of this text may read what is known.
    pub(super) fn matter_to(self, source: &str) -> bool {
        let has_vars = self.vars.is_some_and(|vars| !vars.is_empty());
        has_vars && source.contains("vars")
            || self.json().is_some() && source.contains("event")
            || self.has_no_end && source.contains("execution")
    }

    /// `vars`.
    pub(super) fn vars(self) -> Known<'f> {
        match self.vars {
            Some(vars) => Known::map(Fields::Constants(vars)),
            None => Known::any_of(Kinds::MAP),
        }
    }

    /// `event.json`, where inputs are declared.
    pub(super) fn json(self) -> Option<Known<'f>> {
        self.inputs.map(|inputs| Known::map(Fields::Inputs(inputs)))
    }
}

/// The fields of a map, as far as they are known.
#[derive(Clone, Copy)]
pub(super) enum Fields<'f> {
    /// Any.
    Any,
    /// These.
    Listed(Listed),
    /// Constants. That there is none of a name is told where names are ([`super::Reference::Var`]).
    Constants(&'f BTreeMap<String, Value>),
    /// Members of a constant.
    Members(&'f Map<String, Value>),
    /// Inputs; one that is not required may be absent.
    Inputs(&'f BTreeMap<&'f str, Shape>),
}

impl<'f> Fields<'f> {
    /// The field called `name`.
    ///
    /// # Errors
    /// The names that there are, when it is none of them.
    pub(super) fn find(self, name: &str) -> Result<Known<'f>, Vec<&'f str>> {
        match self {
            Self::Any => Ok(Known::ANY),
            Self::Listed(fields) => match fields.iter().find(|(field, _)| *field == name) {
                Some((_, known)) => Ok(*known),
                None => Err(fields.iter().map(|(field, _)| *field).collect()),
            },
            Self::Constants(vars) => Ok(vars.get(name).map_or(Known::ANY, of_constant)),
            Self::Members(members) => match members.get(name) {
                Some(value) => Ok(of_constant(value)),
                None => Err(members.keys().map(String::as_str).collect()),
            },
            Self::Inputs(inputs) => match inputs.get(name) {
                Some(shape) => Ok(of_shape(*shape)),
                None => Err(inputs.keys().copied().collect()),
            },
        }
    }
}

/// As [`super::scope::to_cel`] makes it.
fn of_constant(value: &Value) -> Known<'_> {
    Known::any_of(match value {
        Value::Null => Kinds::NULL,
        Value::Bool(_) => Kinds::BOOL,
        Value::Number(number) if number.is_i64() => Kinds::INT,
        Value::Number(number) if number.is_u64() => Kinds::UINT,
        Value::Number(_) => Kinds::DOUBLE,
        Value::String(_) => Kinds::STRING,
        Value::Array(_) => Kinds::LIST,
        Value::Object(members) => return Known::map(Fields::Members(members)),
    })
}

fn of_shape(shape: Shape) -> Known<'static> {
    Known::any_of(match shape {
        Shape::Text => Kinds::STRING,
        Shape::Number => Kinds::NUMBER,
        Shape::Boolean => Kinds::BOOL,
        Shape::Object => Kinds::MAP,
        Shape::Array => Kinds::LIST,
    })
}
