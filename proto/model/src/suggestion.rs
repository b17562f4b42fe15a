//! What was meant by a name that there is not.

/// Edits that make a slip, not another word.
const DISTANCE_MAX: usize = 2;

/// Length of a name beyond which nothing is said, in characters, and names that are looked at: comparing takes as long as the product
/// of two lengths, and both may come from a stranger.
const NAME_MAX_CHARS: usize = 64;
const NAMES_MAX: usize = 1_000;

/// `; did you mean "x"?` for the closest of `names`, if one is close to `found`; empty otherwise. Case makes no difference but
/// between names that are equally close.
pub fn suggestion<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let chars = |name: &str| name.chars().take(NAME_MAX_CHARS + 1).count();
    let length = chars(found);
    if length > NAME_MAX_CHARS {
        return String::new();
    }
    let lower = found.to_lowercase();
    names
        .into_iter()
        .take(NAMES_MAX)
        .filter(|name| chars(name).abs_diff(length) <= DISTANCE_MAX)
        .filter_map(|name| {
            let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
            let is_close = distance <= DISTANCE_MAX && distance < name.len();
            is_close.then(|| {
                let by_case = strsim::damerau_levenshtein(found, name);
                (distance, by_case, name)
            })
        })
        .min()
        .map(|(_, _, name)| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_other_cases_are_seen_through() {
        for (found, names, expected) in [
            ("pagr", &["desk", "pager"][..], "; did you mean \"pager\"?"),
            ("apger", &["desk", "pager"], "; did you mean \"pager\"?"),
            ("get", &["GET", "LIST"], "; did you mean \"GET\"?"),
            (
                "Connection",
                &["CONNECTION"],
                "; did you mean \"CONNECTION\"?",
            ),
            // The one whose case fits.
            ("tests", &["TEST", "test"], "; did you mean \"test\"?"),
            ("bird", &["desk", "pager"], ""),
            // As many edits as there are letters.
            ("x", &["a"], ""),
            ("x", &[], ""),
        ] {
            assert_eq!(
                suggestion(found, names.iter().copied()),
                expected,
                "{found}"
            );
        }
    }

    #[test]
    fn what_is_too_long_or_of_another_length_is_not_compared() {
        let long = "a".repeat(NAME_MAX_CHARS);
        let slip = format!("{}b", &long[1..]);
        let hint = format!("; did you mean {long:?}?");
        assert_eq!(suggestion(&slip, [long.as_str()]), hint);
        assert_eq!(suggestion(&format!("{long}b"), [long.as_str()]), "");
        // Comparing these takes 10^12 steps; of the last, each other.
        let huge = "a".repeat(1_000_000);
        assert_eq!(suggestion(&huge, [huge.as_str()]), "");
        assert_eq!(suggestion("abc", [huge.as_str()]), "");
        let many = vec!["b"; 10 * NAMES_MAX];
        assert_eq!(suggestion("cat", many.into_iter().chain(["cats"])), "");
    }
}
