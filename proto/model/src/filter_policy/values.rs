//! The values that a policy looks at, out of a message.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Attribute, number::Decimal};

/// A value that is no array and no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    /// [`None`]: one that policies do not compare, being out of range.
    Number(Option<Decimal>),
    Bool(bool),
    Null,
}

impl Scalar<'_> {
    pub(super) fn is_null_or_empty(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.is_empty(),
            Self::Number(_) | Self::Bool(_) => false,
        }
    }
}

/// The values of each of a policy's keys, by its number; [`None`] for one that the message has not.
#[derive(Debug)]
pub(super) struct Found<'a>(Vec<Option<Vec<Scalar<'a>>>>);

impl<'a> Found<'a> {
    fn none(keys: &[String]) -> Self {
        Self(vec![None; keys.len()])
    }

    pub(super) fn of(&self, key: usize) -> Option<&[Scalar<'a>]> {
        self.0.get(key)?.as_deref()
    }

    fn values(&mut self, key: usize) -> Option<&mut Vec<Scalar<'a>>> {
        Some(self.0.get_mut(key)?.get_or_insert_default())
    }
}

/// [`None`] when there is no attribute that counts: then nothing matches, not even the lack of one ("Key matching").
pub(super) fn of_attributes<'a>(
    keys: &[String],
    attributes: impl IntoIterator<Item = Attribute<'a>>,
) -> Option<Found<'a>> {
    let mut found = Found::none(keys);
    let mut any = false;
    for attribute in attributes {
        // Others are ignored, Binary above all ("Filter policy constraints").
        let read = match attribute.data_type {
            "String" => text,
            "Number" => number,
            "String.Array" | "Number.Array" => array,
            _ => continue,
        };
        any = true;
        let key = keys.iter().position(|key| key == attribute.name);
        if let Some(values) = key.and_then(|key| found.values(key)) {
            read(attribute.value, values);
        }
    }
    any.then_some(found)
}

fn text<'a>(value: &'a str, into: &mut Vec<Scalar<'a>>) {
    into.push(Scalar::Text(Cow::Borrowed(value)));
}

fn number<'a>(value: &'a str, into: &mut Vec<Scalar<'a>>) {
    into.push(Scalar::Number(
        value.parse().ok().and_then(Decimal::rounded),
    ));
}

/// An array's strings, numbers, booleans and nulls. Of what is no array, or holds more than those, the rest has no value.
fn array<'a>(value: &'a str, into: &mut Vec<Scalar<'a>>) {
    let elements = serde_json::from_str::<Vec<Value>>(value).unwrap_or_default();
    into.extend(elements.into_iter().filter_map(|element| {
        Some(match element {
            Value::String(text) => Scalar::Text(Cow::Owned(text)),
            Value::Number(number) => Scalar::Number(number.as_f64().and_then(Decimal::rounded)),
            Value::Bool(flag) => Scalar::Bool(flag),
            Value::Null => Scalar::Null,
            Value::Array(_) | Value::Object(_) => return None,
        })
    }));
}

/// [`None`] when the message is no JSON object, or one of no properties. What no key names is not read.
pub(super) fn of_body<'a>(keys: &[String], message: &'a str) -> Option<Found<'a>> {
    let mut walk = Walk {
        keys,
        found: Found::none(keys),
        path: String::new(),
        any: false,
    };
    let mut json = serde_json::Deserializer::from_str(message);
    json.deserialize_map(Object(&mut walk)).ok()?;
    json.end().ok()?;
    walk.any.then_some(walk.found)
}

struct Walk<'k, 'a> {
    keys: &'k [String],
    found: Found<'a>,
    /// Where it is: names joined by dots. A name that holds dots is as good as several: AWS takes them for the same.
    path: String,
    any: bool,
}

impl<'a> Walk<'_, 'a> {
    /// Whether some key is the path or lies below it.
    fn wanted(&self) -> bool {
        self.keys.iter().any(|key| {
            key.strip_prefix(self.path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }

    fn leaf(&mut self, value: Scalar<'a>) {
        let key = self.keys.iter().position(|key| *key == self.path);
        if let Some(values) = key.and_then(|key| self.found.values(key)) {
            values.push(value);
        }
    }

    fn members<A: MapAccess<'a>>(&mut self, mut map: A, nested: bool) -> Result<(), A::Error> {
        let length = self.path.len();
        while let Some(Name(name)) = map.next_key()? {
            self.any = true;
            if nested {
                self.path.push('.');
            }
            self.path.push_str(&name);
            if self.wanted() {
                map.next_value_seed(Any(self))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }
}

/// A property's name, borrowed where it holds no escape.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The message itself.
struct Object<'w, 'k, 'a>(&'w mut Walk<'k, 'a>);

impl<'a> Visitor<'a> for Object<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        self.0.members(map, false)
    }
}

/// What stands at the walk's path.
struct Any<'w, 'k, 'a>(&'w mut Walk<'k, 'a>);

impl<'a> DeserializeSeed<'a> for Any<'_, '_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Any<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        self.0.members(map, true)
    }

    /// Each element counts as the property's value.
    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<(), A::Error> {
        while elements.next_element_seed(Any(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<(), E> {
        self.0.leaf(Scalar::Text(Cow::Borrowed(text)));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.leaf(Scalar::Text(Cow::Owned(text.to_owned())));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.0.leaf(Scalar::Number(Decimal::rounded(number)));
        Ok(())
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "exact within the range that counts"
    )]
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "exact within the range that counts"
    )]
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<(), E> {
        self.0.leaf(Scalar::Bool(flag));
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.leaf(Scalar::Null);
        Ok(())
    }
}
