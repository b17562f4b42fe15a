//! Filter policies of Amazon SNS subscriptions, with the meaning that they have there: which messages a trigger wants.
//!
//! Sources: the Amazon SNS developer guide, "Amazon SNS subscription filter policies" and what it links: "Filter policy
//! constraints", "String value matching", "Numeric value matching", "Key matching", "AND/OR logic", "Amazon SNS
//! subscription filter policy scope". What those pages leave open is as in AWS's published matcher of such policies
//! (<https://github.com/aws/event-ruler>): `$or`'s reserved words, a wildcard's escapes, paths with dots, arrays. But each key is
//! looked at alone, as the first of those pages says: keys of one array's objects may match in different ones, which event-ruler's
//! `rulesForJSONEvent` refuses (its README, "JSON Array Matching") and its older `rulesForEvent` does not.

mod condition;
mod number;
mod parse;
mod pattern;
mod values;
mod wildcard;

use serde_json::Value;

use self::condition::Condition;
use crate::violation::Violations;

/// What a policy looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FilterPolicyScope {
    /// The message attributes.
    #[default]
    MessageAttributes,
    /// The message, which must be a JSON object.
    MessageBody,
}

/// One message attribute, as Amazon SNS delivers it.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: &'a str,
    /// `String`, `String.Array`, `Number`, `Binary`, …
    pub data_type: &'a str,
    /// The value as text.
    pub value: &'a str,
}

/// A valid policy that says something: one of no keys wants every message, and is [`None`] to [`FilterPolicy::parse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterPolicy {
    scope: FilterPolicyScope,
    /// The keys that conditions look at: attributes' names, or the paths of properties, their names joined by dots.
    keys: Vec<String>,
    condition: Condition,
}

impl FilterPolicy {
    /// The policy that `value` writes, which stands at `field` of a definition.
    ///
    /// # Errors
    /// All problems, AWS's limits among them: five keys, 150 combinations, 100 points of wildcards, 256 KB.
    pub fn parse(
        field: &str,
        value: &Value,
        scope: FilterPolicyScope,
    ) -> Result<Option<Self>, Violations> {
        parse::policy(field, value, scope)
    }

    /// What it looks at.
    #[must_use]
    pub fn scope(&self) -> FilterPolicyScope {
        self.scope
    }

    /// Whether a message is wanted. Work and memory are linear in its size.
    #[must_use]
    pub fn wants<'a>(
        &self,
        message: &'a str,
        attributes: impl IntoIterator<Item = Attribute<'a>>,
    ) -> bool {
        let found = match self.scope {
            FilterPolicyScope::MessageAttributes => values::of_attributes(&self.keys, attributes),
            FilterPolicyScope::MessageBody => values::of_body(&self.keys, message),
        };
        found.is_some_and(|found| self.condition.holds(&found))
    }
}

#[cfg(test)]
mod tests;
