//! What was meant by a name that there is not.

/// Edits that make a slip, not another word.
const DISTANCE_MAX: usize = 2;

/// `; did you mean "x"?` for the closest of `names`, if one is close to `found`; empty otherwise.
pub fn suggestion<'a>(found: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(found, name), name))
        .filter(|(distance, name)| *distance <= DISTANCE_MAX && *distance < name.len())
        .min()
        .map(|(_, name)| format!("; did you mean {name:?}?"))
        .unwrap_or_default()
}
