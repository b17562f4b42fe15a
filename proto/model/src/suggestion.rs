//! What was meant by a name that there is not.

/// Edits that make a slip, not another word.
const DISTANCE_MAX: usize = 2;

/// `; did you mean "x"?` for the closest of `names`, if one is close to `found`; empty otherwise. Case makes no difference but
/// between names that are equally close.
pub fn suggestion<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let lower = found.to_lowercase();
    names
        .into_iter()
        .map(|name| {
            let distance = strsim::damerau_levenshtein(&lower, &name.to_lowercase());
            let by_case = strsim::damerau_levenshtein(found, name);
            (distance, by_case, name)
        })
        .filter(|(distance, _, name)| *distance <= DISTANCE_MAX && *distance < name.len())
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
}
