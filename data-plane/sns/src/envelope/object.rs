//! One level of a JSON object as its keys and the untouched text of its values: what `serde_json` alone would hide
//! (duplicates, where a value stands) is seen here, and each string is decoded exactly once.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A member of an object: its decoded key and the text of its value, a slice of what was parsed.
pub(crate) struct Member<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) raw: &'a str,
}

/// Why a text is not one JSON object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ObjectError {
    NotAnObject,
    Syntax,
    Trailing,
    TooManyMembers,
}

/// The members of the one object that `text` is, in order, at most `members_max` of them.
pub(crate) fn members(text: &str, members_max: usize) -> Result<Vec<Member<'_>>, ObjectError> {
    let first = text
        .bytes()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    if first != Some(b'{') {
        return Err(ObjectError::NotAnObject);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let collected = (&mut deserializer)
        .deserialize_map(MembersVisitor { members_max })
        .map_err(|_| ObjectError::Syntax)?;
    deserializer.end().map_err(|_| ObjectError::Trailing)?;
    collected.ok_or(ObjectError::TooManyMembers)
}

/// The decoded string that `raw` is, borrowed where it holds no escape. `None` when it is no string, or one that no
/// text can be (a lone surrogate).
pub(crate) fn string(raw: &str) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw)
        .ok()
        .map(|text| text.0)
}

/// Whether brackets nest deeper than `depth_max` in `raw`, which is valid JSON.
pub(crate) fn nests_deeper(raw: &str, depth_max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > depth_max {
            return true;
        }
    }
    false
}

/// Whether two keys differ at most in case, by Unicode's folding: readers exist that take `ſubject` for `Subject`.
pub(crate) fn same_but_for_case(left: &str, right: &str) -> bool {
    fn folded(text: &str) -> impl Iterator<Item = char> {
        text.chars()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
    }
    // No fold of a letter beyond ASCII matters where there is none; nearly all keys are like that.
    if left.is_ascii() && right.is_ascii() {
        return left.eq_ignore_ascii_case(right);
    }
    folded(left).eq(folded(right))
}

struct MembersVisitor {
    members_max: usize,
}

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Option<Vec<Member<'de>>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some(Text(key)) = map.next_key()? {
            if members.len() == self.members_max {
                map.next_value::<IgnoredAny>()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            let raw: &'de RawValue = map.next_value()?;
            members.push(Member {
                key,
                raw: raw.get(),
            });
        }
        Ok(Some(members))
    }
}

/// A string that borrows where it can; `Cow`'s own implementation always copies.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}
