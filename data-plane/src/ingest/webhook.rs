//! `…/webhook`: any JSON document.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    ids::{ExecutionId, ExecutionName},
    limits,
    record::{Accepted, Verdict},
};

use super::{Answer, Authorized, Ingest, Problem, Seen, answered, delivery, later, spool_problem};
use crate::spool::Accept;

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
    let message_id = match head.headers.get(IDEMPOTENCY_KEY) {
        None => uuid::Uuid::now_v7().to_string(),
        Some(value) => match value.to_str() {
            Ok(text) if (1..=limits::OPAQUE_ID_MAX_BYTES).contains(&text.len()) => text.to_owned(),
            _ => {
                return Err(Problem::malformed(
                    "idempotency-key-malformed",
                    "Idempotency-Key must be 1 to 256 visible ASCII characters",
                ));
            }
        },
    };
    seen.message_id.clone_from(&message_id);
    let text = std::str::from_utf8(body)
        .map_err(|_| Problem::malformed("body-not-utf8", "the body is not UTF-8"))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
        Problem::malformed("body-not-json", format!("the body is not JSON: {error}"))
    })?;
    let execution = ExecutionName {
        project: head.workflow.project.clone(),
        execution: ExecutionId::derive(&head.workflow, "", &message_id, None),
    };
    let record = delivery(
        head,
        Seen {
            message_type: seen.message_type.clone(),
            message_id: message_id.clone(),
            topic_arn: String::new(),
            execution: Some(execution.clone()),
        },
        Verdict::Accepted,
        "",
        "",
        StatusCode::OK,
    );
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
            },
            content_digest: *blake3::hash(body).as_bytes(),
            certificate: None,
            definition: authorized.published.source.clone(),
            delivery: Some(record),
            traceparent,
            deduplicate_until: later(head.received_at, ingest.deduplication_window),
        })
        .await
        .map_err(|error| spool_problem(&error))?;
    answered(acceptance, execution)
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
