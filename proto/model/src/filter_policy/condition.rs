//! What must hold of a message's values.

use super::{pattern::Pattern, values::Found};

/// Conditions on the values of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// All of them.
    All(Vec<Condition>),
    /// One of them.
    Any(Vec<Condition>),
    /// One of the patterns, for the values of a key.
    Key {
        /// Which of the policy's keys.
        key: usize,
        /// At least one.
        patterns: Vec<Pattern>,
    },
}

impl Condition {
    pub(super) fn holds(&self, found: &Found<'_>) -> bool {
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(found)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(found)),
            Self::Key { key, patterns } => {
                let values = found.of(*key);
                patterns.iter().any(|pattern| pattern.holds(values))
            }
        }
    }
}
