//! What the child writes.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_data_plane::spool::{Accept, ScopeSource};
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::{ExecutionState, Fact},
    ids::ExecutionName,
    record::{Accepted, Record, RecordBody},
};

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn name(id: &str) -> ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

/// Some are larger than a page, so that a commit is many pages.
fn body(id: &str) -> Bytes {
    let size = if id.ends_with('7') { 40_000 } else { 100 };
    vec![b'x'; size].into()
}

pub(crate) fn accept(id: &str) -> Accept {
    Accept {
        accepted: Accepted {
            execution: name(id),
            workflow: "projects/default/workflows/w".parse().unwrap(),
            version: 1,
            event: Event {
                trigger: TriggerKind::Webhook,
                api_key: None,
                scope: EventScope {
                    message: id.to_owned(),
                    subject: None,
                    attributes: BTreeMap::new(),
                    topic_arn: None,
                    message_id: id.to_owned(),
                    timestamp: "2026-11-24T00:00:00Z".to_owned(),
                },
                body: body(id),
                content_type: None,
                source_address: None,
                signature: None,
                received_at: Timestamp::now(),
            },
            parent: None,
        },
        scope: ScopeSource::Event,
        content_digest: *blake3::hash(id.as_bytes()).as_bytes(),
        certificate: None,
        definition: Bytes::from_static(b"definition").into(),
        message_type: None,
        traceparent: None,
        deduplicate_until: Timestamp::now() + DAY,
    }
}

fn fact(id: &str, fact: Fact) -> Record {
    Record {
        time: Timestamp::now(),
        traceparent: None,
        body: RecordBody::Execution {
            execution: name(id),
            fact,
        },
    }
}

pub(crate) fn started(id: &str) -> Record {
    fact(id, Fact::Started)
}

pub(crate) fn finished(id: &str) -> Record {
    let state = ExecutionState::Succeeded;
    fact(
        id,
        Fact::Finished {
            state,
            output: None,
            error: None,
        },
    )
}
