//! The route, from the request line's method and target.

use http::{Method, StatusCode, Uri};
use signalbox_data_plane::fuzzing::route;

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "route",
    body,
    mutations: 20_000,
    tokens: &[
        "/v1/projects/p/workflows/w/sns",
        "/webhook",
        "POST ",
        "GET ",
        "http://evil.example",
        "//",
        "/..",
        "/./",
        "%2f",
        "?x-api-key=",
        "#",
        ";",
        "-",
    ],
};

/// `METHOD target`.
pub fn body(bytes: &[u8]) {
    let Some(at) = bytes.iter().position(|byte| *byte == b' ') else {
        return;
    };
    let (Ok(method), Ok(uri)) = (
        Method::from_bytes(&bytes[..at]),
        Uri::try_from(&bytes[at + 1..]),
    ) else {
        return;
    };
    let found = route(&method, &uri);
    match (expected(uri.path()), &found) {
        (None, Err(StatusCode::NOT_FOUND)) => {}
        (Some(_), Err(StatusCode::METHOD_NOT_ALLOWED)) => assert_ne!(method, Method::POST),
        (Some((project, workflow, kind)), Ok((found, name))) => {
            assert_eq!(method, Method::POST);
            assert_eq!(found.as_str(), kind);
            assert_eq!(name.project.as_str(), project);
            assert_eq!(name.workflow.as_str(), workflow);
        }
        (expected, _) => panic!("{method} {uri}: {expected:?} was expected, not {found:?}"),
    }
}

/// Project, workflow and kind of a path that is a route.
fn expected(path: &str) -> Option<(&str, &str, &str)> {
    let (project, rest) = path.strip_prefix("/v1/projects/")?.split_once('/')?;
    let (workflow, kind) = rest.strip_prefix("workflows/")?.split_once('/')?;
    let fits = is_id(project) && is_id(workflow) && ["sns", "webhook"].contains(&kind);
    fits.then_some((project, workflow, kind))
}

/// AIP-122: `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`.
fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next().is_some_and(|char| char.is_ascii_lowercase());
    let rest = chars.all(|char| matches!(char, 'a'..='z' | '0'..='9' | '-'));
    first && rest && text.len() <= 63 && !text.ends_with('-')
}
