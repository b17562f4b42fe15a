//! Which run of a step.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{IdError, StepId};

/// One run of a step within an execution: the step, and the iteration of each `forEach` around it, the outermost first.
/// Its text is the step's id, followed by the indexes: `call`, `call[2]`, `call[2][0]`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StepInstance {
    /// The step.
    pub step: StepId,
    /// The iterations, each from 0. Empty for a step outside every `forEach`.
    pub indexes: Vec<u32>,
}

impl From<StepId> for StepInstance {
    fn from(step: StepId) -> Self {
        Self {
            step,
            indexes: Vec::new(),
        }
    }
}

impl FromStr for StepInstance {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::new(text, "a step's run, such as call or call[2][0]");
        let (step, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
        let step = step.parse().map_err(|_| wrong())?;
        let mut indexes = Vec::new();
        while !rest.is_empty() {
            let (index, after) = rest
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .ok_or_else(wrong)?;
            let number: u32 = index.parse().map_err(|_| wrong())?;
            // One text for one run: no sign, no leading zeros.
            if number.to_string() != index {
                return Err(wrong());
            }
            indexes.push(number);
            rest = after;
        }
        Ok(Self { step, indexes })
    }
}

impl fmt::Display for StepInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)?;
        self.indexes
            .iter()
            .try_for_each(|index| write!(f, "[{index}]"))
    }
}

impl fmt::Debug for StepInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl TryFrom<String> for StepInstance {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<StepInstance> for String {
    fn from(instance: StepInstance) -> String {
        instance.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn instances_have_one_text_each() {
        for text in ["call", "call[0]", "call[12][0]"] {
            let instance: StepInstance = text.parse().unwrap();
            assert_eq!(instance.to_string(), text);
        }
        let nested: StepInstance = "call[12][0]".parse().unwrap();
        assert_eq!(nested.indexes, [12, 0]);
        for wrong in [
            "",
            "[0]",
            "Call",
            "call[",
            "call[]",
            "call[-1]",
            "call[01]",
            "call[+1]",
            "call[0",
            "call[0]x",
            "call[4294967296]",
        ] {
            assert!(wrong.parse::<StepInstance>().is_err(), "{wrong:?}");
        }
    }
}
