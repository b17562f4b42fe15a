//! A YAML document with the place of everything in it.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::Position;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    pub(super) content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Position,
    pub(super) value: Node,
}

impl Node {
    /// Where `path` stands, or else the nearest that holds it.
    pub(super) fn position(&self, path: &str) -> Position {
        self.find(path).unwrap_or(self.at)
    }

    /// Whether something stands at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.strip_prefix('.').unwrap_or(path);
        if path.is_empty() {
            return true;
        }
        match &self.content {
            Content::List(values) => {
                let element = path.strip_prefix('[').and_then(|path| path.split_once(']'));
                element.is_some_and(|(index, rest)| {
                    let value = index
                        .parse()
                        .ok()
                        .and_then(|index: usize| values.get(index));
                    value.is_some_and(|value| value.has(rest))
                })
            }
            Content::Map(entries) => entries.iter().any(|entry| {
                strip_name(path, &entry.key).is_some_and(|rest| entry.value.has(rest))
            }),
            _ => false,
        }
    }

    /// The text of the entry `key`.
    pub(super) fn text_of(&self, key: &str) -> Option<&str> {
        let Content::Map(entries) = &self.content else {
            return None;
        };
        let entry = entries.iter().find(|entry| entry.key == key)?;
        match &entry.value.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Where the longest part of `path` stands that there is.
    fn find(&self, path: &str) -> Option<Position> {
        let path = path.strip_prefix('.').unwrap_or(path);
        match &self.content {
            Content::List(values) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let value = values.get(index.parse::<usize>().ok()?)?;
                Some(value.position(rest))
            }
            Content::Map(entries) => {
                // Keys may hold dots and brackets, so the longest that fits is meant.
                let (entry, rest) = entries
                    .iter()
                    .filter_map(|entry| Some((entry, strip_name(path, &entry.key)?)))
                    .max_by_key(|(entry, _)| entry.key.len())?;
                Some(entry.value.find(rest).unwrap_or(entry.at))
            }
            _ => None,
        }
    }
}

/// What follows `key` in `path`, when it is the path's first segment: as it is, or as the field's JSON name.
fn strip_name<'p>(path: &'p str, key: &str) -> Option<&'p str> {
    let rest = path
        .strip_prefix(key)
        .or_else(|| path.strip_prefix(json_name(key).as_str()))?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// `api_keys` → `apiKeys` (<https://protobuf.dev/programming-guides/json/>).
fn json_name(field: &str) -> String {
    let mut name = String::with_capacity(field.len());
    let mut upper = false;
    for c in field.chars() {
        if c == '_' {
            upper = true;
        } else if std::mem::take(&mut upper) {
            name.push(c.to_ascii_uppercase());
        } else {
            name.push(c);
        }
    }
    name
}

fn position(at: Location) -> Position {
    let one_based = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
    Position {
        line: one_based(at.line()),
        column: one_based(at.column()),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(from)?;
        Ok(Self {
            at: position(spanned.referenced),
            content: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Content, E> {
        Ok(Content::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Content, E> {
        Ok(Content::Integer(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Content, E> {
        Ok(Content::Integer(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Content::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            entries.push(Entry {
                at: position(key.referenced),
                key: key.value,
                value: map.next_value()?,
            });
        }
        Ok(Content::Map(entries))
    }
}
