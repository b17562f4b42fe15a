//! Values that must not be shown, and how they are kept out of what is recorded (invariant I6).

mod entities;
mod escapes;
mod forms;
mod layers;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use secrecy::{ExposeSecret as _, SecretSlice};
use serde::de::IgnoredAny;
use serde_json::Value;

use self::forms::Forms;
use crate::{
    execution::{Failure, JsonText},
    ids::SecretId,
};

/// Stands for what is not shown.
pub const HIDDEN: &str = "***";

/// The value of a secret. Cheap to clone; wiped when the last clone is dropped; its `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(Arc<Inner>);

struct Inner {
    value: SecretSlice<u8>,
    /// Made when it is first searched for: most secrets of a node are not in use.
    forms: OnceLock<Forms>,
}

impl Secret {
    /// A secret of this value.
    #[must_use]
    pub fn new(value: Vec<u8>) -> Self {
        Self(Arc::new(Inner {
            value: value.into(),
            forms: OnceLock::new(),
        }))
    }

    /// The value.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.value.expose_secret()
    }

    fn forms(&self) -> &Forms {
        self.0.forms.get_or_init(|| Forms::of(self.expose()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({HIDDEN})")
    }
}

/// Secrets by their ids. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<BTreeMap<SecretId, Secret>>);

impl Secrets {
    /// The secret called `id`.
    #[must_use]
    pub fn get(&self, id: &SecretId) -> Option<&Secret> {
        self.0.get(id)
    }

    /// All, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&SecretId, &Secret)> {
        self.0.iter()
    }
}

impl FromIterator<(SecretId, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (SecretId, Secret)>>(secrets: I) -> Self {
        Self(Arc::new(secrets.into_iter().collect()))
    }
}

/// Values that are searched for, as they are, in base 64 (also within a longer text, such as `user:password`) and in base 16,
/// whatever of that is escaped for JSON, URLs, HTML or XML, once or twice, or stands in several lines. Each occurrence is replaced
/// by [`HIDDEN`], all of an escape or nothing, so that a text goes on being what it was: JSON, too.
#[derive(Clone, Debug, Default)]
pub struct Masks(Vec<Secret>);

impl Masks {
    /// Searches for `secret` too.
    pub fn add(&mut self, secret: &Secret) {
        let is_known = |known: &Secret| Arc::ptr_eq(&known.0, &secret.0);
        if !self.0.iter().any(is_known) {
            self.0.push(secret.clone());
        }
    }

    /// Searches for all that `other` does.
    pub fn add_all(&mut self, other: &Self) {
        for secret in &other.0 {
            self.add(secret);
        }
    }

    /// Whether nothing is searched for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` without the values; none when it holds none.
    #[must_use]
    pub fn bytes(&self, text: &[u8]) -> Option<Vec<u8>> {
        let masked = self.cut(text)?;
        let was_json = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
        if was_json
            && serde_json::from_slice::<IgnoredAny>(&masked).is_err()
            && let Ok(value) = serde_json::from_slice(text)
        {
            return Some(self.json(value));
        }
        Some(masked)
    }

    /// `text` with [`HIDDEN`] in the place of the values, whatever becomes of it.
    fn cut(&self, text: &[u8]) -> Option<Vec<u8>> {
        let forms: Vec<&Forms> = self.0.iter().map(Secret::forms).collect();
        let found = forms::find(text, &forms);
        if found.is_empty() {
            return None;
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut shown_to = 0;
        for range in found {
            masked.extend_from_slice(&text[shown_to..range.start]);
            masked.extend_from_slice(HIDDEN.as_bytes());
            shown_to = range.end;
        }
        masked.extend_from_slice(&text[shown_to..]);
        Some(masked)
    }

    /// JSON without the values: as it is written, where it holds none.
    #[must_use]
    pub fn json_text(&self, text: JsonText) -> JsonText {
        let mut value = text.to_value();
        if self.value(&mut value) {
            JsonText::from_value(&value)
        } else {
            text
        }
    }

    /// `value` written without the values, where they stand in more than its strings.
    fn json(&self, mut value: Value) -> Vec<u8> {
        self.value(&mut value);
        let written = value.to_string().into_bytes();
        match self.cut(&written) {
            // A part of the structure is one.
            Some(_) => Value::from(HIDDEN).to_string().into_bytes(),
            None => written,
        }
    }

    /// The same of a text.
    #[must_use]
    pub fn text(&self, text: &str) -> Option<String> {
        self.bytes(text.as_bytes()).map(lossy)
    }

    /// Takes the values out of the texts, names and numbers of `value`; says whether there were some.
    pub fn value(&self, value: &mut Value) -> bool {
        let masked = match value {
            Value::Null | Value::Bool(_) => None,
            Value::Number(number) => self.cut(number.to_string().as_bytes()).map(lossy),
            Value::String(text) => self.text(text),
            Value::Array(values) => {
                return values
                    .iter_mut()
                    .fold(false, |some, value| self.value(value) | some);
            }
            Value::Object(fields) => {
                let mut some = false;
                let before = std::mem::take(fields);
                for (name, mut value) in before {
                    some |= self.value(&mut value);
                    let masked = self.text(&name);
                    some |= masked.is_some();
                    fields.insert(masked.unwrap_or(name), value);
                }
                return some;
            }
        };
        match masked {
            Some(masked) => {
                *value = Value::String(masked);
                true
            }
            None => false,
        }
    }

    /// `failure` without the values.
    #[must_use]
    pub fn failure(&self, failure: Failure) -> Failure {
        match self.text(&failure.message) {
            Some(message) => Failure { message, ..failure },
            None => failure,
        }
    }
}

/// What is cut out of a text is text, unless a value was none.
fn lossy(text: Vec<u8>) -> String {
    String::from_utf8(text)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests;
