//! Patterns in which `*` stands for any text.

/// Wildcards in one pattern ("Wildcard pattern usage guidelines").
pub(super) const WILDCARDS_MAX: usize = 3;

/// A pattern: what stands before, between and after its wildcards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wildcard(Vec<String>);

/// Why a text is no [`Wildcard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WildcardError {
    #[error("has {0} wildcards; at most {WILDCARDS_MAX} are allowed")]
    TooMany(usize),
    #[error("has two wildcards side by side; one says the same")]
    Consecutive,
    #[error(r"has a backslash before neither * nor a backslash; write \\ for one")]
    Escape,
}

impl Wildcard {
    /// `\*` is an asterisk and `\\` a backslash.
    pub(super) fn parse(text: &str) -> Result<Self, WildcardError> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        let mut after_wildcard = false;
        while let Some(character) = characters.next() {
            let literal = match character {
                '*' if after_wildcard => return Err(WildcardError::Consecutive),
                '*' => {
                    parts.push(String::new());
                    after_wildcard = true;
                    continue;
                }
                '\\' => match characters.next() {
                    Some(escaped @ ('*' | '\\')) => escaped,
                    _ => return Err(WildcardError::Escape),
                },
                other => other,
            };
            after_wildcard = false;
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        match parts.len() - 1 {
            count if count > WILDCARDS_MAX => Err(WildcardError::TooMany(count)),
            _ => Ok(Self(parts)),
        }
    }

    /// How many wildcards it has.
    pub(super) fn count(&self) -> usize {
        self.0.len() - 1
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match &self.0[..] {
            [] => false,
            [whole] => text == whole,
            [first, between @ .., last] => {
                let inner = text
                    .strip_prefix(first.as_str())
                    .and_then(|rest| rest.strip_suffix(last.as_str()));
                // The first place of each is the best: it leaves the most to what follows.
                inner.is_some_and(|inner| {
                    between
                        .iter()
                        .try_fold(inner, |rest, part| {
                            rest.split_once(part.as_str()).map(|(_, after)| after)
                        })
                        .is_some()
                })
            }
        }
    }
}
