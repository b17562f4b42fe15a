//! Labels: names and values by which people and tools find what belongs together.

use std::collections::BTreeMap;

use crate::{
    limits::{LABEL_NAME_MAX_BYTES, LABEL_VALUE_MAX_BYTES, LABELS_MAX},
    violation::{Collector, Violations},
};

/// The labels of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

/// Labels that a resource must have: all of these, with these values.
pub type LabelSelector = BTreeMap<String, String>;

impl Labels {
    /// The one door.
    ///
    /// # Errors
    /// All problems, at `{field}` and `{field}.{name}`.
    pub fn new(field: &str, labels: BTreeMap<String, String>) -> Result<Self, Violations> {
        let mut problems = Collector::default();
        if labels.len() > LABELS_MAX {
            let text = format!(
                "has {} labels; at most {LABELS_MAX} are allowed",
                labels.len()
            );
            problems.add(field, text);
        }
        for (name, value) in &labels {
            if !is_name(name) {
                problems.add(
                    format!("{field}.{name}"),
                    format!(
                        "is no name of a label: 1 to {LABEL_NAME_MAX_BYTES} of a-z, 0-9, '-', '_', '.' and '/', beginning and \
                         ending with a letter or a digit"
                    ),
                );
            }
            if value.len() > LABEL_VALUE_MAX_BYTES || value.chars().any(char::is_control) {
                problems.add(
                    format!("{field}.{name}"),
                    format!(
                        "must have at most {LABEL_VALUE_MAX_BYTES} bytes, and no control characters"
                    ),
                );
            }
        }
        problems.finish(Some(Self(labels)))
    }

    /// All of them.
    #[must_use]
    pub fn get(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether they hold all of `selector`.
    #[must_use]
    pub fn match_all(&self, selector: &LabelSelector) -> bool {
        let mut wanted = selector.iter();
        wanted.all(|(name, value)| self.0.get(name) == Some(value))
    }
}

/// Whether `text` is the name of a label.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_end = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    bytes.len() <= LABEL_NAME_MAX_BYTES
        && is_end(*first)
        && is_end(*last)
        && bytes.iter().all(|b| is_end(*b) || b"-_./".contains(b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, Violations> {
        let pairs = pairs.iter();
        let map = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Labels::new("labels", map.collect())
    }

    #[test]
    fn names_and_values_have_a_form() {
        let good = [
            ("team", "ops"),
            ("a", ""),
            ("example.com/app_x-1", "Ä b"),
            ("9", "9"),
        ];
        let labels_of_good = labels(&good).unwrap();
        assert_eq!(labels_of_good.get().len(), 4);
        let long = "x".repeat(LABEL_NAME_MAX_BYTES + 1);
        for wrong in ["", "Team", "-a", "a/", "a b", "ä", long.as_str()] {
            let problems = labels(&[(wrong, "v")]).unwrap_err();
            assert!(problems.0[0].description.contains("is no name"), "{wrong}");
        }
        let long = "x".repeat(LABEL_VALUE_MAX_BYTES + 1);
        for wrong in ["a\nb", long.as_str()] {
            let problems = labels(&[("a", wrong)]).unwrap_err();
            assert_eq!(problems.0[0].field, "labels.a");
        }
        let many: Vec<_> = (0..=LABELS_MAX).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(labels(&many).unwrap_err().0[0].field, "labels");
    }

    #[test]
    fn a_selector_wants_all_that_it_says() {
        let of = labels(&[("a", "1"), ("b", "2")]).unwrap();
        let wanted = |pairs: &[(&str, &str)]| labels(pairs).unwrap().get().clone();
        assert!(of.match_all(&LabelSelector::new()));
        assert!(of.match_all(&wanted(&[("a", "1")])));
        assert!(!of.match_all(&wanted(&[("a", "2")])));
        assert!(!of.match_all(&wanted(&[("a", "1"), ("c", "")])));
    }
}
