//! Values that must not be shown, and how they are kept out of what is recorded (invariant I6).

mod forms;

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::Value;

use self::forms::Form;
use crate::{execution::Failure, ids::SecretId};

/// Stands for what is not shown.
pub const HIDDEN: &str = "***";

/// The value of a secret. Cheap to clone; wiped when the last clone is dropped; its `Debug` does not show it.
#[derive(Clone)]
pub struct Secret(Arc<Inner>);

struct Inner {
    value: SecretSlice<u8>,
    /// Made when it is first searched for: most secrets of a node are not in use.
    forms: OnceLock<Vec<Form>>,
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

    fn forms(&self) -> &[Form] {
        self.0.forms.get_or_init(|| forms::of(self.expose()))
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

/// Values that are searched for, as they are and as they are commonly encoded: escaped for JSON, percent-encoded, in base 64
/// (also within a longer text, such as `user:password`) and base 16. Each occurrence is replaced by [`HIDDEN`].
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

    /// Whether nothing is searched for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` without the values; none when it holds none.
    #[must_use]
    pub fn bytes(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut found: Vec<Range<usize>> = self
            .0
            .iter()
            .flat_map(Secret::forms)
            .flat_map(|form| form.find(text))
            .collect();
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|range| range.start);
        let mut masked = Vec::with_capacity(text.len());
        let mut shown_to = 0;
        for range in found {
            if range.start >= shown_to {
                masked.extend_from_slice(&text[shown_to..range.start]);
                masked.extend_from_slice(HIDDEN.as_bytes());
            }
            // One that overlaps the one before is a part of it, or goes on with it.
            shown_to = shown_to.max(range.end);
        }
        masked.extend_from_slice(&text[shown_to..]);
        Some(masked)
    }

    /// The same of a text.
    #[must_use]
    pub fn text(&self, text: &str) -> Option<String> {
        let masked = self.bytes(text.as_bytes())?;
        // What is cut out of a text is text: a form, and letters of base 64 beside it.
        Some(String::from_utf8_lossy(&masked).into_owned())
    }

    /// Takes the values out of the texts, names and numbers of `value`; says whether there were some.
    pub fn value(&self, value: &mut Value) -> bool {
        let masked = match value {
            Value::Null | Value::Bool(_) => None,
            Value::Number(number) => self.text(&number.to_string()),
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

#[cfg(test)]
mod tests;
