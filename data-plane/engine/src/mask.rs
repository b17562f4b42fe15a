//! What is recorded and traced of a request: everything but its secrets (invariant I6).

use url::Url;

/// Stands for a value that is not shown.
pub(crate) const MASK: &str = signalbox_model::secret::HIDDEN;

/// Parts of names whose values are taken for secrets. Too many are masked rather than one too few.
const SECRET_WORDS: [&str; 12] = [
    "auth",
    "cookie",
    "credential",
    "key",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "session",
    "signature",
    "token",
    "x-amz-security",
];

/// Names that hold secrets without a telling word.
const SECRET_NAMES: [&str; 5] = ["sig", "pwd", "pw", "code", "jwt"];

/// Whether the value of a header or query parameter of this name is taken for a secret.
pub(crate) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // Ours, and no secret: it is shown so that the other side's logs can be searched for it.
    name != "idempotency-key"
        && (SECRET_NAMES.contains(&name.as_str())
            || SECRET_WORDS.iter().any(|word| name.contains(word)))
}

/// `url` without user information, without fragment, and with the values of secret query parameters masked.
#[must_use]
pub(crate) fn redact_url(url: &Url) -> String {
    let mut shown = url.clone();
    // Both fail only for URLs without a host, which hold no user information.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.set_fragment(None);
    if url.query_pairs().any(|(name, _)| is_secret(&name)) {
        let pairs: Vec<_> = url
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret(&name) { MASK.into() } else { value };
                (name, value)
            })
            .collect();
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.into()
}

/// Scheme, host and port of `url`, for one whose path is a secret.
pub(crate) fn hide_path(url: &Url) -> String {
    format!("{}/{MASK}", url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn secrets_are_told_by_their_names() {
        for name in [
            "Authorization",
            "X-API-Key",
            "cookie",
            "Proxy-Authorization",
            "access_token",
            "sig",
            "X-Amz-Signature",
            "client_secret",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "Content-Type",
            "accept",
            "page",
            "Idempotency-Key",
            "signal",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        let shown = |url: &str| redact_url(&url.parse().unwrap());
        assert_eq!(shown("https://h/p?a=1&b=%20"), "https://h/p?a=1&b=%20");
        assert_eq!(
            shown("https://u:p@h:1/p?a=1&token=s3cret#f"),
            "https://h:1/p?a=1&token=***"
        );
        let hidden = hide_path(
            &"https://u:p@h:1/services/T/B/s3cret?s3cret#s3cret"
                .parse()
                .unwrap(),
        );
        assert_eq!(hidden, "https://h:1/***");
    }
}
