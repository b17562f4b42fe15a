//! `signalbox audit`.

use signalbox_client::Client;
use signalbox_model::audit::{Hash, Head, Verifier};
use signalbox_proto::{convert::audit, v1};

use super::{PAGE_SIZE, call, pages};
use crate::{
    CliError, Output,
    args::{AuditCommand, AuditScope, Global},
    output::time,
};

/// The project's name, or nothing.
fn parent(global: &Global, whose: AuditScope) -> Result<String, CliError> {
    if whose.installation {
        return Ok(String::new());
    }
    global.parent()
}

pub(crate) async fn run(
    global: &Global,
    command: AuditCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    match command {
        AuditCommand::List {
            whose,
            filter,
            limit,
        } => {
            let parent = parent(global, whose)?;
            let request = || v1::ListAuditEntriesRequest {
                parent: parent.clone(),
                filter: filter.clone(),
                ..Default::default()
            };
            let entries = pages!(
                client,
                limit,
                audit.list_audit_entries(request()).audit_entries
            );
            let header = ["SEQUENCE", "TIME", "ACTOR", "ACTION", "RESOURCE", "CHANGES"];
            output.list(&entries, header, |entry| {
                [
                    entry.sequence.to_string(),
                    time(entry.time.as_ref()),
                    entry.actor.clone(),
                    entry.action.clone(),
                    entry.resource.clone(),
                    changes(&entry.changes),
                ]
            })
        }
        AuditCommand::Verify { whose, head } => {
            let parent = parent(global, whose)?;
            verify(&client, &parent, head, output).await
        }
    }
}

/// Changes in one line: few are told.
fn changes(changes: &[v1::AuditChange]) -> String {
    const SHOWN: usize = 3;
    let side = |json: &Option<String>| json.as_deref().unwrap_or("-").to_owned();
    let mut shown: Vec<_> = changes
        .iter()
        .take(SHOWN)
        .map(|it| match (&it.before_json, &it.after_json) {
            (None, Some(after)) => format!("{}: {after}", it.field),
            _ => format!(
                "{}: {} → {}",
                it.field,
                side(&it.before_json),
                side(&it.after_json)
            ),
        })
        .collect();
    if changes.len() > SHOWN {
        shown.push(format!("and {} more", changes.len() - SHOWN));
    }
    shown.join(", ")
}

async fn verify(
    client: &Client,
    parent: &str,
    noted: Vec<Head>,
    output: &Output,
) -> Result<(), CliError> {
    let whose = if parent.is_empty() {
        "the installation"
    } else {
        parent
    };
    let mut verifier = None;
    let mut page_token = String::new();
    loop {
        let request = v1::ListAuditEntriesRequest {
            parent: parent.to_owned(),
            page_size: PAGE_SIZE,
            page_token,
            ..Default::default()
        };
        let page = call!(client, audit.list_audit_entries(request));
        // What the control plane says that there was must be there, too; what comes later does not matter.
        let known = || Head {
            sequence: u64::try_from(page.head_sequence).unwrap_or_default(),
            hash: Hash::from_bytes(&page.head_hash).unwrap_or(Hash::FIRST),
        };
        let verifier =
            verifier.get_or_insert_with(|| Verifier::new(noted.iter().copied().chain([known()])));
        for entry in page.audit_entries {
            let (entry, hash) = audit::from_wire(parent, entry).map_err(|error| {
                CliError::Failed(format!("the audit log of {whose} cannot be read: {error}"))
            })?;
            verifier.take(entry, hash);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let verified = verifier.map(Verifier::finish).transpose();
    let (count, head) = verified
        .map_err(|broken| {
            CliError::Failed(format!("the audit log of {whose} is broken: {broken}"))
        })?
        .unwrap_or_default();
    let head = head.map(|head| head.to_string());
    if output.is_json() {
        let said = serde_json::json!({"entries": count, "head": head});
        return output.raw(&format!("{said:#}\n"));
    }
    output.line(&format!(
        "the audit log of {whose} is whole: {count} entries\nhead {}",
        head.unwrap_or_else(|| "none".to_owned())
    ))
}
