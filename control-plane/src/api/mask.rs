//! Field masks (AIP-134, AIP-161).

use prost_types::FieldMask;
use signalbox_model::error::Error;

/// The paths that `mask` names, each of them one of `known` and there once, in their order; all of `known` for `*`, [`None`] when it
/// names none.
///
/// # Errors
/// `Invalid` at `update_mask` for another path.
pub(super) fn paths<'k>(
    mask: Option<&FieldMask>,
    known: &[&'k str],
) -> Result<Option<Vec<&'k str>>, Error> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(None);
    };
    if let [all] = mask.paths.as_slice()
        && all == "*"
    {
        return Ok(Some(known.to_vec()));
    }
    let unknown = mask
        .paths
        .iter()
        .find(|path| !known.contains(&path.as_str()));
    if let Some(path) = unknown {
        let problem = format!(
            "{path:?} cannot be changed; expected {}, or \"*\" alone",
            known.join(", ")
        );
        return Err(Error::invalid("update_mask", problem));
    }
    let named = known
        .iter()
        .filter(|known| mask.paths.iter().any(|path| path == *known));
    Ok(Some(named.copied().collect()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask {
            paths: paths.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_mask_names_what_can_be_changed() {
        let known = ["a", "b", "b.c"];
        let of = |given: &[&str]| paths(Some(&mask(given)), &known);
        assert_eq!(paths(None, &known).unwrap(), None);
        assert_eq!(of(&[]).unwrap(), None);
        assert_eq!(of(&["*"]).unwrap().unwrap(), known);
        assert_eq!(of(&["b", "a", "b"]).unwrap().unwrap(), ["a", "b"]);
        for wrong in [&["x"][..], &["a", "*"], &["b."]] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains("expected a, b, b.c, or"), "{error}");
        }
    }
}
