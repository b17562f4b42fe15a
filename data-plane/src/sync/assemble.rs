//! Makes changes of updates: puts the parts of a snapshot together, and sets aside what this node cannot take.

use signalbox_model::config::Revision;
use signalbox_proto::{convert, dataplane::v1 as wire};

use super::encode_resource;
use crate::config::{Change, Upsert};

/// A change that is complete, and what was refused of it.
#[derive(Debug)]
pub(super) struct Applicable {
    pub(super) nonce: String,
    pub(super) change: Change,
    pub(super) refused: Vec<wire::RefusedResource>,
}

/// The parts of a snapshot that have come so far.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    upserts: Vec<Upsert>,
    refused: Vec<wire::RefusedResource>,
}

impl Assembler {
    /// Takes an update; gives the change that it completes, if it does.
    pub(super) fn take(&mut self, update: wire::ConfigUpdate) -> Option<Applicable> {
        let wire::ConfigUpdate {
            nonce,
            incarnation,
            revision,
            snapshot,
            last,
            upserts,
            deletes,
        } = update;
        for resource in upserts {
            let name = convert::config::name_of(&resource).to_owned();
            let encoded = encode_resource(&resource);
            match convert::config::resource(resource) {
                Ok(resource) => self.upserts.push(Upsert {
                    name,
                    resource,
                    encoded,
                }),
                Err(error) => self.refused.push(wire::RefusedResource {
                    resource: name,
                    reason: error.to_string(),
                }),
            }
        }
        if !last {
            return None;
        }
        let refused = std::mem::take(&mut self.refused);
        Some(Applicable {
            nonce,
            change: Change {
                incarnation,
                revision: Revision(u64::try_from(revision).unwrap_or(0)),
                replaces_all: snapshot,
                upserts: std::mem::take(&mut self.upserts),
                deletes,
                keep: refused
                    .iter()
                    .map(|refused| refused.resource.clone())
                    .collect(),
            },
            refused,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn key(id: &str, digest_bytes: usize) -> wire::Resource {
        wire::Resource {
            kind: Some(wire::resource::Kind::Key(wire::KeyConfig {
                name: format!("projects/default/apiKeys/{id}"),
                digest: vec![7; digest_bytes].into(),
                ..Default::default()
            })),
        }
    }

    fn part(last: bool, upserts: Vec<wire::Resource>) -> wire::ConfigUpdate {
        wire::ConfigUpdate {
            nonce: "n".into(),
            incarnation: "i".into(),
            revision: 4,
            snapshot: true,
            last,
            upserts,
            deletes: vec![],
        }
    }

    #[test]
    fn a_snapshot_is_applied_when_its_last_part_came() {
        let mut assembler = Assembler::default();
        assert!(assembler.take(part(false, vec![key("a", 32)])).is_none());
        let applicable = assembler.take(part(true, vec![key("b", 32)])).unwrap();
        assert_eq!(applicable.change.upserts.len(), 2);
        assert!(applicable.change.replaces_all);
        assert!(applicable.refused.is_empty());
        let next = assembler.take(part(true, vec![])).unwrap();
        assert!(next.change.upserts.is_empty());
    }

    #[test]
    fn what_cannot_be_taken_is_refused_by_name_and_kept() {
        let unknown = wire::Resource { kind: None };
        let applicable = Assembler::default()
            .take(part(true, vec![key("a", 32), key("b", 5), unknown]))
            .unwrap();
        assert_eq!(applicable.change.upserts.len(), 1);
        let refused: Vec<_> = applicable
            .refused
            .iter()
            .map(|r| r.resource.as_str())
            .collect();
        assert_eq!(refused, ["projects/default/apiKeys/b", ""]);
        assert!(applicable.refused[0].reason.contains("SHA-256"));
        assert_eq!(applicable.change.keep[0], "projects/default/apiKeys/b");
    }
}
