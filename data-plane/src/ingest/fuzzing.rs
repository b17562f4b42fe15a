//! Doors for the fuzz targets: see [`crate::fuzzing`].

use std::borrow::Cow;

use http::HeaderMap;

use super::authorize;

/// The value of the API key that a request with these headers and this query presents.
///
/// # Errors
/// The reason for which there is none.
pub fn presented_key<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> Result<Cow<'a, str>, &'static str> {
    authorize::presented(headers, query).map_err(|problem| problem.reason)
}
