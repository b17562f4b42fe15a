//! The two routes. Strict: no redirects, no trailing slash, nothing percent-encoded.

use http::{Method, Request, StatusCode};
use signalbox_model::ids::WorkflowName;

use crate::ingest::{Kind, Problem};

/// The webhook that a request is for.
///
/// # Errors
/// 404 for another path, 405 for another method.
pub(super) fn route<B>(request: &Request<B>) -> Result<(Kind, WorkflowName), Problem> {
    let unknown = || Problem::not_found("path-unknown", "there is nothing at this path");
    let path = request.uri().path();
    let segments: Vec<&str> = path.split('/').collect();
    let ["", "v1", "projects", project, "workflows", workflow, kind] = segments[..] else {
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
    if request.method() != Method::POST {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn status(method: &str, path: &str) -> u16 {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        match route(&request) {
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
