//! Problems of a definition: where, what was found, what was expected.

use std::fmt;

mod mentions;

pub use mentions::{BegunStep, Mention};

use mentions::Mentions;

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path in the definition as its YAML or JSON writes it, such as `steps[2].http.url`; empty for the whole.
    pub field: String,
    /// What was found and what was expected.
    pub description: String,
}

impl Violation {
    /// A problem at `field`.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.description)
        } else {
            write!(f, "{}: {}", self.field, self.description)
        }
    }
}

/// One or more problems; what a fallible constructor of a definition gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", display(.0))]
pub struct Violations(pub Vec<Violation>);

impl Violations {
    /// A single problem.
    pub fn one(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self(vec![Violation::new(field, description)])
    }
}

fn display(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Gathers problems, so that all of a definition's are reported at once.
#[derive(Debug, Default)]
pub struct Collector {
    violations: Vec<Violation>,
    of_written: bool,
    mentions: Mentions,
}

impl Collector {
    /// For a definition that is being written, which is told more than one that is stored: what does nothing, or can only fail.
    /// A stored one was taken once, and goes on running.
    #[must_use]
    pub fn of_written() -> Self {
        Self {
            of_written: true,
            ..Self::default()
        }
    }

    /// Whether a definition is being written.
    #[must_use]
    pub fn is_of_written(&self) -> bool {
        self.of_written
    }

    /// Notes a problem.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.violations.push(Violation::new(field, description));
    }

    /// Notes a problem of what is being written; of what is stored, it is none.
    pub fn add_if_written(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if self.of_written {
            self.add(field, description);
        }
    }

    /// Notes all of `violations`.
    pub fn extend(&mut self, violations: Violations) {
        self.violations.extend(violations.0);
    }

    /// The value of `result`, or notes its error at `field`.
    pub fn check<T, E: fmt::Display>(
        &mut self,
        field: impl Into<String>,
        result: Result<T, E>,
    ) -> Option<T> {
        result
            .map_err(|error| self.add(field, error.to_string()))
            .ok()
    }

    /// Whether no problem was noted.
    pub fn is_empty(&self) -> bool {
        self.violations.is_empty()
    }

    /// `value` when no problem was noted and it is there.
    ///
    /// # Errors
    /// All noted problems.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Violations> {
        match value {
            Some(value) if self.violations.is_empty() => Ok(value),
            _ => Err(Violations(self.violations)),
        }
    }
}
