//! `…/webhook`: any JSON document.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    ids::{ExecutionId, ExecutionName},
    limits,
    record::Accepted,
};

use super::{Answer, Authorized, Ingest, Problem, Seen, answered, later, spool_problem};
use crate::spool::{Accept, Definition, ScopeSource};

/// The header of draft-ietf-httpapi-idempotency-key-header.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub(super) async fn handle(
    ingest: &Ingest,
    authorized: &Authorized,
    body: &Bytes,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Result<Answer, Problem> {
    let head = &authorized.head;
    "webhook".clone_into(&mut seen.message_type);
    let content_type = json_content_type(&head.headers)?;
    let message_id = idempotency_key(&head.headers)?
        .map(str::to_owned)
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
    seen.message_id.clone_from(&message_id);
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::malformed("body-not-utf8", "the body is not UTF-8"))?;
    if depth(text) > limits::JSON_DEPTH_MAX {
        return Err(Problem::malformed(
            "body-too-deep",
            "the body nests deeper than 64",
        ));
    }
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
        Problem::malformed("body-not-json", format!("the body is not JSON: {error}"))
    })?;
    let execution = ExecutionName {
        project: head.workflow.project.clone(),
        execution: ExecutionId::derive(&head.workflow, "", &message_id, None),
    };
    let acceptance = ingest
        .spool
        .accept(Accept {
            accepted: Accepted {
                execution: execution.clone(),
                workflow: head.workflow.clone(),
                version: authorized.published.number,
                event: Event {
                    trigger: TriggerKind::Webhook,
                    api_key: Some(authorized.key.clone()),
                    scope: EventScope {
                        message: text.to_owned(),
                        subject: None,
                        attributes: std::collections::BTreeMap::new(),
                        topic_arn: None,
                        message_id,
                        timestamp: head.received_at.to_string(),
                    },
                    body: body.clone(),
                    content_type: Some(content_type),
                    source_address: Some(head.source.to_string()),
                    signature: None,
                    received_at: head.received_at,
                },
                parent: None,
            },
            scope: ScopeSource::Event,
            content_digest: *blake3::hash(body).as_bytes(),
            certificate: None,
            definition: Definition {
                source: authorized.published.source.clone(),
                digest: authorized.published.source_digest,
            },
            message_type: Some(seen.message_type.clone()),
            traceparent,
            deduplicate_until: later(head.received_at, ingest.deduplication_window),
        })
        .await
        .map_err(|error| spool_problem(&error))?;
    answered(acceptance, execution)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let fits = (1..=limits::OPAQUE_ID_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && values.next().is_none();
    if fits {
        return Ok(Some(text));
    }
    Err(Problem::malformed(
        "idempotency-key-malformed",
        "Idempotency-Key must stand once and be 1 to 256 visible ASCII characters",
    ))
}

/// How deep the arrays and objects of a JSON text nest; of anything else, some number.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
    }
    deepest
}

fn json_content_type(headers: &HeaderMap) -> Result<String, Problem> {
    let text = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
    {
        return Ok(text.chars().take(256).collect());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type-unsupported",
        "expected Content-Type: application/json",
    ))
}
