//! What follows a redirect (RFC 9110 §15.4, <https://fetch.spec.whatwg.org/#http-redirect-fetch>).
//!
//! Another origin gets nothing that could be a secret of the step: not its credentials, none of its headers but those
//! that say what is sent and wanted, and not its body. What was left out once stays out on the way back.

use ::http::{
    HeaderMap, HeaderName, Method, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, LOCATION},
};
use bytes::Bytes;
use url::Url;

use super::IDEMPOTENCY_KEY;

/// The headers that another origin gets.
const HARMLESS: [&str; 7] = [
    "accept",
    "accept-language",
    "content-language",
    "content-type",
    IDEMPOTENCY_KEY,
    "traceparent",
    "tracestate",
];

/// One request on the way to the answer.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RedirectError {
    #[error("its Location is no URL of http or https")]
    Location,
    #[error("it leads from https to http")]
    Downgrade,
    #[error("it leads to another origin, which the body is not sent to")]
    Body,
}

impl Hop {
    /// The request that the answer of `status` and `headers` redirects to; none when it is no redirect.
    pub(super) fn redirected(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<Option<Self>, RedirectError> {
        if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = headers.get(LOCATION) else {
            return Ok(None);
        };
        let location =
            std::str::from_utf8(location.as_bytes()).map_err(|_| RedirectError::Location)?;
        let url = self.resolve(location)?;
        let mut next = self.clone();
        if becomes_get(status, &self.method) {
            next.method = Method::GET;
            next.body = None;
            for name in [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE] {
                next.headers.remove(name);
            }
        }
        if url.origin() != self.url.origin() {
            if next.body.is_some() {
                return Err(RedirectError::Body);
            }
            let is_harmless = |name: &HeaderName| HARMLESS.contains(&name.as_str());
            let headers = next.headers.into_iter();
            next.headers = headers
                .filter_map(|(name, value)| Some((name.filter(is_harmless)?, value)))
                .collect();
        }
        next.url = url;
        Ok(Some(next))
    }

    fn resolve(&self, location: &str) -> Result<Url, RedirectError> {
        let mut url = self
            .url
            .join(location)
            .map_err(|_| RedirectError::Location)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(RedirectError::Location);
        }
        if self.url.scheme() == "https" && url.scheme() == "http" {
            return Err(RedirectError::Downgrade);
        }
        url.set_fragment(None);
        // Or the client would make an Authorization of it. Both fail only for URLs without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Ok(url)
    }
}

fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status {
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => method == Method::POST,
        StatusCode::SEE_OTHER => method != Method::HEAD && method != Method::GET,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use ::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const SECRETS: [&str; 4] = ["authorization", "cookie", "x-api-key", "x-anything"];

    fn hop(method: Method, url: &str) -> Hop {
        let mut headers = HeaderMap::new();
        for name in SECRETS.into_iter().chain(HARMLESS) {
            headers.insert(name, HeaderValue::from_static("v"));
        }
        Hop {
            body: (method != Method::GET && method != Method::HEAD).then(|| "body".into()),
            method,
            url: url.parse().unwrap(),
            headers,
        }
    }

    fn follow(hop: &Hop, status: u16, location: &str) -> Result<Option<Hop>, RedirectError> {
        let mut headers = HeaderMap::new();
        headers.insert(
            LOCATION,
            HeaderValue::from_bytes(location.as_bytes()).unwrap(),
        );
        hop.redirected(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn methods_and_bodies_go_on_as_browsers_do() {
        for (status, method, expected) in [
            (301, Method::POST, Method::GET),
            (302, Method::POST, Method::GET),
            (303, Method::POST, Method::GET),
            (303, Method::PUT, Method::GET),
            (303, Method::HEAD, Method::HEAD),
            (301, Method::PUT, Method::PUT),
            (302, Method::DELETE, Method::DELETE),
            (307, Method::POST, Method::POST),
            (308, Method::PATCH, Method::PATCH),
            (307, Method::GET, Method::GET),
        ] {
            let before = hop(method.clone(), "http://a.test/x/y?q=1");
            let next = follow(&before, status, "../z#f").unwrap().unwrap();
            assert_eq!(next.method, expected, "{status} {method}");
            assert_eq!(next.url.as_str(), "http://a.test/z");
            let keeps = before.method == next.method;
            assert_eq!(next.body.is_some(), keeps && before.body.is_some());
            assert_eq!(next.headers.contains_key("content-type"), keeps);
            // To the same origin, credentials go along.
            assert!(SECRETS.iter().all(|name| next.headers.contains_key(*name)));
        }
    }

    #[test]
    fn other_origins_get_no_secrets_and_no_body() {
        for (from, to) in [
            ("http://a.test/", "http://b.test/"),
            ("http://a.test/", "//b.test/"),
            ("http://a.test/", "http://a.test:81/"),
            ("http://a.test/", "https://a.test/"),
            ("https://a.test/", "https://sub.a.test/"),
            ("https://a.test/", "https://u:p@b.test/"),
        ] {
            let next = follow(&hop(Method::GET, from), 302, to).unwrap().unwrap();
            let names: Vec<_> = next.headers.keys().map(HeaderName::as_str).collect();
            assert_eq!(names.len(), HARMLESS.len(), "{to}: {names:?}");
            assert!(
                HARMLESS.iter().all(|name| names.contains(name)),
                "{names:?}"
            );
            assert_eq!((next.url.username(), next.url.password()), ("", None));
            // Nor does the first one again, when it is led back there.
            let back = follow(&next, 302, from);
            if let Ok(Some(back)) = back {
                assert!(!back.headers.contains_key("authorization"));
            }
            let with_body = hop(Method::POST, from);
            assert_eq!(
                follow(&with_body, 307, to).unwrap_err(),
                RedirectError::Body
            );
            assert!(follow(&with_body, 303, to).unwrap().unwrap().body.is_none());
        }
    }

    #[test]
    fn what_leads_nowhere_is_told_apart_from_what_is_no_redirect() {
        let get = hop(Method::GET, "https://a.test/");
        for location in [
            "ftp://a.test/",
            "file:///etc/passwd",
            "http://",
            "javascript:1",
            "https://[/",
        ] {
            let failed = follow(&get, 302, location).unwrap_err();
            assert_eq!(failed, RedirectError::Location, "{location}");
        }
        assert_eq!(
            follow(&get, 302, "http://a.test/").unwrap_err(),
            RedirectError::Downgrade
        );
        for status in [200, 300, 304, 305, 306, 404] {
            assert!(follow(&get, status, "/x").unwrap().is_none(), "{status}");
        }
        let nowhere = get.redirected(StatusCode::FOUND, &HeaderMap::new());
        assert!(nowhere.unwrap().is_none());
    }

    proptest! {
        #[test]
        fn any_location_is_followed_safely_or_not_at_all(
            location in "\\PC{0,30}|(https?:)?/{0,3}[a-b.@:]{0,8}test[:0-9]{0,4}/[a-z/.?#]{0,8}",
            status in prop::sample::select(vec![301_u16, 302, 303, 307, 308]),
            from in prop::sample::select(vec!["http://a.test/x", "https://a.test:8443/x"]),
            posts in any::<bool>(),
        ) {
            let method = if posts { Method::POST } else { Method::GET };
            let before = hop(method, from);
            let mut headers = HeaderMap::new();
            prop_assume!(HeaderValue::from_bytes(location.as_bytes()).is_ok());
            headers.insert(LOCATION, HeaderValue::from_bytes(location.as_bytes()).unwrap());
            let status = StatusCode::from_u16(status).unwrap();
            if let Ok(Some(next)) = before.redirected(status, &headers) {
                let same = next.url.origin() == before.url.origin();
                let scheme = next.url.scheme();
                prop_assert!(scheme == "https" || (scheme == "http" && before.url.scheme() == "http"));
                prop_assert!(next.url.has_host() && next.url.username().is_empty() && next.url.password().is_none());
                for name in SECRETS {
                    prop_assert_eq!(next.headers.contains_key(name), same);
                }
                prop_assert!(same || next.body.is_none());
            }
        }
    }
}
