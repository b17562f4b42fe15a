//! The two routes. Strict: no redirects, no trailing slash, nothing percent-encoded.

use http::{Method, StatusCode, Uri};
use signalbox_model::ids::WorkflowName;

use crate::ingest::{Kind, Problem};

/// The webhook that a request is for.
///
/// # Errors
/// 404 for another path, 405 for another method.
pub(super) fn route(method: &Method, uri: &Uri) -> Result<(Kind, WorkflowName), Problem> {
    let unknown = || Problem::not_found("path-unknown", "there is nothing at this path");
    let segments = segments(uri.path()).ok_or_else(unknown)?;
    let ["", "v1", "projects", project, "workflows", workflow, kind] = segments else {
        return Err(unknown());
    };
    let kind = match kind {
        "sns" => Kind::Sns,
        "webhook" => Kind::Webhook,
        _ => return Err(unknown()),
    };
    let (Ok(project), Ok(workflow)) = (project.parse(), workflow.parse()) else {
        return Err(unknown());
    };
    if method != Method::POST {
        return Err(Problem {
            allow: Some("POST"),
            ..Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "a webhook takes POST only",
            )
        });
    }
    Ok((kind, WorkflowName { project, workflow }))
}

/// Exactly as many segments as a route has.
fn segments(path: &str) -> Option<[&str; 7]> {
    let mut parts = path.split('/');
    let mut segments = [""; 7];
    for segment in &mut segments {
        *segment = parts.next()?;
    }
    parts.next().is_none().then_some(segments)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use http::Request;

    use super::*;

    fn status(method: &str, path: &str) -> u16 {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        match route(request.method(), request.uri()) {
            Ok(_) => 200,
            Err(problem) => problem.status.as_u16(),
        }
    }

    #[test]
    fn only_the_exact_paths_are_routes() {
        assert_eq!(status("POST", "/v1/projects/p/workflows/w/sns"), 200);
        assert_eq!(
            status("POST", "/v1/projects/p/workflows/w/webhook?x-api-key=k"),
            200
        );
        assert_eq!(status("GET", "/v1/projects/p/workflows/w/sns"), 405);
        for path in [
            "/",
            "/v1/projects/p/workflows/w/sns/",
            "//v1/projects/p/workflows/w/sns",
            "/v1/projects/p/workflows/w",
            "/v1/projects/p/workflows/%77/sns",
            "/v1/projects/p/workflows/../w/sns",
            "/v1/projects/P/workflows/w/sns",
            "/V1/projects/p/workflows/w/sns",
            "/v1/projects/p/workflows/w/other",
        ] {
            assert_eq!(status("POST", path), 404, "{path}");
        }
    }
}
