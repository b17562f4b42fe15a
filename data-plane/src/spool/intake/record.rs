//! What the intake log's records say. A tag, once given a meaning, keeps it; `docs/intake-log.md` lists them.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use signalbox_log::{Reader, RecordKind};
use signalbox_model::{
    event::{Event, EventScope, SignatureProof, TriggerKind},
    ids::{ApiKeyName, ExecutionName, WorkflowName},
    record::{Accepted, Certificate},
};

use super::{OpenError, pending::Pending};
use crate::spool::{Accept, Definition, ScopeSource, SpoolError, key::Key};

/// An accepted event: the length of its head (u32, little-endian), the head (postcard), the body.
pub(super) const ACCEPTED: u8 = 1;
/// A definition that later events refer to: its digest, its source.
pub(super) const DEFINITION: u8 = 2;
/// A certificate that later events refer to: JSON.
pub(super) const CERTIFICATE: u8 = 3;

/// The head of an accepted event. Borrowed to write, owned to read.
#[derive(Serialize)]
struct HeadRef<'a> {
    execution: &'a ExecutionName,
    workflow: &'a WorkflowName,
    version: u64,
    trigger: TriggerKind,
    api_key: &'a Option<ApiKeyName>,
    content_type: &'a Option<String>,
    source_address: &'a Option<String>,
    signature: &'a Option<SignatureProof>,
    received_at_ns: i128,
    content_digest: &'a [u8; 32],
    definition_digest: &'a [u8; 32],
    deduplicate_until_us: i64,
    message_type: &'a Option<String>,
    traceparent: &'a Option<String>,
    scope: Option<String>,
}

#[derive(Deserialize)]
struct Head {
    execution: ExecutionName,
    workflow: WorkflowName,
    version: u64,
    trigger: TriggerKind,
    api_key: Option<ApiKeyName>,
    content_type: Option<String>,
    source_address: Option<String>,
    signature: Option<SignatureProof>,
    received_at_ns: i128,
    content_digest: [u8; 32],
    definition_digest: [u8; 32],
    deduplicate_until_us: i64,
    message_type: Option<String>,
    traceparent: Option<String>,
    /// JSON; none when the body is the envelope that holds it.
    scope: Option<String>,
}

/// The bytes before the body.
pub(super) fn encode(accept: &Accept) -> Result<Vec<u8>, SpoolError> {
    let failed = |error: String| SpoolError::Failed(error);
    let event = &accept.accepted.event;
    let scope = match accept.scope {
        ScopeSource::Envelope => None,
        ScopeSource::Event => {
            let json = serde_json::to_string(&event.scope);
            Some(json.map_err(|error| failed(error.to_string()))?)
        }
    };
    let head = HeadRef {
        execution: &accept.accepted.execution,
        workflow: &accept.accepted.workflow,
        version: accept.accepted.version,
        trigger: event.trigger,
        api_key: &event.api_key,
        content_type: &event.content_type,
        source_address: &event.source_address,
        signature: &event.signature,
        received_at_ns: event.received_at.as_nanosecond(),
        content_digest: &accept.content_digest,
        definition_digest: &accept.definition.digest,
        deduplicate_until_us: accept.deduplicate_until.as_microsecond(),
        message_type: &accept.message_type,
        traceparent: &accept.traceparent,
        scope,
    };
    let mut bytes = Vec::with_capacity(768);
    bytes.extend_from_slice(&[0; 4]);
    let mut bytes = postcard::to_extend(&head, bytes).map_err(|error| failed(error.to_string()))?;
    let length = u32::try_from(bytes.len() - 4).map_err(|error| failed(error.to_string()))?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// What a record says.
pub(in crate::spool) enum Content {
    Accepted(Box<Accept>),
    Definition(Definition),
    Certificate(Certificate),
}

/// What a tag is called.
pub(in crate::spool) fn name(tag: u8) -> &'static str {
    match tag {
        ACCEPTED => "accepted",
        DEFINITION => "definition",
        CERTIFICATE => "certificate",
        _ => "unknown",
    }
}

/// Reads a record. An accepted event's definition is given by its digest alone.
pub(in crate::spool) fn decode(tag: u8, payload: &Bytes) -> Result<Content, String> {
    match tag {
        ACCEPTED => Ok(Content::Accepted(Box::new(accepted(payload)?))),
        DEFINITION => {
            let (digest, _) = payload.split_first_chunk::<32>().ok_or("it is cut off")?;
            Ok(Content::Definition(Definition {
                digest: *digest,
                source: payload.slice(32..),
            }))
        }
        CERTIFICATE => serde_json::from_slice(payload)
            .map(Content::Certificate)
            .map_err(|error| error.to_string()),
        other => Err(format!("its tag {other} is not known")),
    }
}

fn accepted(payload: &Bytes) -> Result<Accept, String> {
    let (head, body) = parts(payload)?;
    let time = |error: jiff::Error| error.to_string();
    let received_at = Timestamp::from_nanosecond(head.received_at_ns).map_err(time)?;
    let (scope, source) = match head.scope {
        Some(json) => (
            serde_json::from_str(&json).map_err(|error| error.to_string())?,
            ScopeSource::Event,
        ),
        None => (EventScope::unread(), ScopeSource::Envelope),
    };
    Ok(Accept {
        accepted: Accepted {
            execution: head.execution,
            workflow: head.workflow,
            version: head.version,
            event: Event {
                trigger: head.trigger,
                api_key: head.api_key,
                scope,
                body,
                content_type: head.content_type,
                source_address: head.source_address,
                signature: head.signature,
                received_at,
            },
            // Executions that steps start are not among what comes in.
            parent: None,
        },
        scope: source,
        content_digest: head.content_digest,
        certificate: None,
        definition: Definition {
            source: Bytes::new(),
            digest: head.definition_digest,
        },
        message_type: head.message_type,
        traceparent: head.traceparent,
        deduplicate_until: Timestamp::from_microsecond(head.deduplicate_until_us)
            .unwrap_or(Timestamp::MAX),
    })
}

fn parts(payload: &Bytes) -> Result<(Head, Bytes), String> {
    let length = payload.first_chunk::<4>().ok_or("it is cut off")?;
    let end = 4 + u32::from_le_bytes(*length) as usize;
    let head = payload.get(4..end).ok_or("it is cut off")?;
    let head = postcard::from_bytes(head).map_err(|error| error.to_string())?;
    Ok((head, payload.slice(end..)))
}

/// What a record of the certificate says.
pub(super) fn encode_certificate(certificate: &Arc<Certificate>) -> Vec<u8> {
    serde_json::to_vec(certificate.as_ref()).unwrap_or_default()
}

/// The deduplication keys of what the store does not have yet, with the digests of their content.
pub(super) fn undrained(mut reader: Reader) -> Result<Pending, OpenError> {
    let mut pending = Pending::default();
    loop {
        let record = match reader.read() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(pending),
            Err(error) => return Err(OpenError::Read(error.to_string())),
        };
        if record.kind != RecordKind::Data(ACCEPTED) {
            continue;
        }
        // One that cannot be read is set aside when its turn comes.
        let Ok((head, _)) = parts(&record.payload) else {
            continue;
        };
        let key = Key::of(&head.execution);
        if pending.get(&key).is_none() {
            pending.insert(key, short(&head.content_digest));
        }
    }
}

/// Enough of a content's digest to tell a copy from another message of the same id.
pub(super) fn short(digest: &[u8; 32]) -> u64 {
    digest
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
