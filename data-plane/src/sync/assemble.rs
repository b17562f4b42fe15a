//! Makes changes of updates: puts the parts of a snapshot together, and sets aside what this node cannot take.

use std::{collections::HashMap, sync::Arc};

use prost::Message as _;
use signalbox_model::{config::Revision, ids::WorkflowName};
use signalbox_proto::{
    convert::{self, config::Reading},
    dataplane::v1 as wire,
};
use signalbox_runtime::hpke::KeyPair;

use super::{encode_resource, sealed};
use crate::config::{Change, Snapshot, Upsert};

/// Size of one change, or of all parts of one snapshot, as encoded. A larger one is not taken: what is in use stays.
const CHANGE_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A change that is complete, and what was refused of it.
#[derive(Debug)]
pub(super) struct Applicable {
    pub(super) nonce: String,
    pub(super) change: Change,
    /// Where people reach the control plane, when it says so; empty: it does not know.
    pub(super) public_url: Option<String>,
    pub(super) refused: Vec<wire::RefusedResource>,
}

impl Applicable {
    /// Whether it says only that the node has all that there is.
    pub(super) fn is_nothing(&self) -> bool {
        self.change.upserts.is_empty() && self.change.deletes.is_empty() && self.refused.is_empty()
    }
}

/// An update that no hub sends: the stream is given up, and the next one begins anew.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AssembleError {
    #[error("an update of the configuration names no incarnation")]
    NoIncarnation,
    #[error("an update of the configuration came between the parts of another")]
    Interleaved,
    #[error("an update of the configuration is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
}

/// The parts of a snapshot that have come so far.
#[derive(Debug)]
pub(super) struct Assembler {
    max_bytes: usize,
    key: Option<Arc<KeyPair>>,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    nonce: String,
    incarnation: String,
    snapshot: bool,
    bytes: usize,
    /// By name: the change log may have moved on between two parts, and bring a resource again.
    upserts: HashMap<String, Upsert>,
    deletes: Vec<String>,
    public_url: Option<String>,
    refused: Vec<wire::RefusedResource>,
}

impl Default for Assembler {
    fn default() -> Self {
        Self::new(CHANGE_MAX_BYTES)
    }
}

impl Assembler {
    fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            key: None,
            pending: None,
        }
    }

    /// One that takes secrets, which are sealed to `key`.
    pub(super) fn of_node(key: Arc<KeyPair>) -> Self {
        Self {
            key: Some(key),
            ..Self::default()
        }
    }

    /// Takes an update for a node that has `current`; gives the change that it completes, if it does. All of a definition is read
    /// where there may be an earlier state to keep instead of it, and otherwise unless it is one of a snapshot's.
    ///
    /// # Errors
    /// [`AssembleError`]; what has come of it so far is dropped.
    pub(super) fn take(
        &mut self,
        update: wire::ConfigUpdate,
        current: &Snapshot,
    ) -> Result<Option<Applicable>, AssembleError> {
        let size = update.encoded_len();
        let wire::ConfigUpdate {
            nonce,
            incarnation,
            revision,
            snapshot,
            last,
            upserts,
            deletes,
            public_url,
        } = update;
        if incarnation.is_empty() {
            return Err(AssembleError::NoIncarnation);
        }
        let mut pending = match self.pending.take() {
            None => Pending::new(nonce, incarnation, snapshot),
            Some(pending)
                if snapshot && pending.nonce == nonce && pending.incarnation == incarnation =>
            {
                pending
            }
            Some(_) => return Err(AssembleError::Interleaved),
        };
        pending.bytes = pending.bytes.saturating_add(size);
        if pending.bytes > self.max_bytes {
            let max_bytes = self.max_bytes;
            return Err(AssembleError::TooLarge { max_bytes });
        }
        if let Some(url) = public_url {
            pending.public_url = Some(usable(url));
        }
        for name in deletes {
            pending.delete(name);
        }
        for resource in upserts {
            let reading = |name: &WorkflowName| match current.workflow(name) {
                _ if !snapshot => Reading::Whole,
                None => Reading::Front,
                Some(known) => match &known.published {
                    Some(published) => Reading::WholeUnless(published),
                    None => Reading::Whole,
                },
            };
            pending.upsert(resource, reading, self.key.as_deref());
        }
        match (last, snapshot) {
            (true, _) => Ok(Some(pending.complete(revision))),
            (false, true) => {
                self.pending = Some(pending);
                Ok(None)
            }
            (false, false) => Err(AssembleError::Interleaved),
        }
    }
}

impl Pending {
    fn new(nonce: String, incarnation: String, snapshot: bool) -> Self {
        Self {
            nonce,
            incarnation,
            snapshot,
            bytes: 0,
            upserts: HashMap::new(),
            deletes: Vec::new(),
            public_url: None,
            refused: Vec::new(),
        }
    }

    fn delete(&mut self, name: String) {
        self.upserts.remove(&name);
        self.refused.retain(|refused| refused.resource != name);
        self.deletes.push(name);
    }

    fn upsert<'a>(
        &mut self,
        resource: wire::Resource,
        reading: impl FnOnce(&WorkflowName) -> Reading<'a>,
        key: Option<&KeyPair>,
    ) {
        let name = convert::config::name_of(&resource).to_owned();
        let encoded = encode_resource(&resource);
        self.refused.retain(|refused| refused.resource != name);
        match convert::config::resource(resource, reading, |secret| sealed::open(key, secret)) {
            Ok(resource) => {
                let upsert = Upsert {
                    name: name.clone(),
                    resource,
                    encoded,
                };
                self.upserts.insert(name, upsert);
            }
            Err(error) => self.refused.push(wire::RefusedResource {
                resource: name,
                reason: error.to_string(),
            }),
        }
    }

    fn complete(self, revision: i64) -> Applicable {
        let keep = |refused: &wire::RefusedResource| refused.resource.clone();
        Applicable {
            nonce: self.nonce,
            change: Change {
                incarnation: self.incarnation,
                revision: Revision(u64::try_from(revision).unwrap_or(0)),
                replaces_all: self.snapshot,
                upserts: self.upserts.into_values().collect(),
                deletes: self.deletes,
                keep: self.refused.iter().map(keep).collect(),
            },
            public_url: self.public_url,
            refused: self.refused,
        }
    }
}

/// `url`, if links can lead there; otherwise nowhere.
fn usable(url: String) -> String {
    let parsed = url::Url::parse(&url);
    let is_web = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if !is_web && !url.is_empty() {
        tracing::warn!("what the control plane says that people reach it by is no URL of the web");
        return String::new();
    }
    url
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
            ..wire::ConfigUpdate::default()
        }
    }

    fn whole(taken: Result<Option<Applicable>, AssembleError>) -> Applicable {
        taken.unwrap().unwrap()
    }

    #[test]
    fn a_snapshot_is_applied_when_its_last_part_came() {
        let mut assembler = Assembler::default();
        let first = assembler
            .take(part(false, vec![key("a", 32)]), &Snapshot::default())
            .unwrap();
        assert!(first.is_none());
        let applicable =
            whole(assembler.take(part(true, vec![key("b", 32)]), &Snapshot::default()));
        assert_eq!(applicable.change.upserts.len(), 2);
        assert!(applicable.change.replaces_all);
        assert!(applicable.refused.is_empty());
        let next = whole(assembler.take(part(true, vec![]), &Snapshot::default()));
        assert!(next.change.upserts.is_empty());
    }

    #[test]
    fn what_cannot_be_taken_is_refused_by_name_and_kept() {
        let unknown = wire::Resource { kind: None };
        let applicable = whole(Assembler::default().take(
            part(true, vec![key("a", 32), key("b", 5), unknown]),
            &Snapshot::default(),
        ));
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

    #[test]
    fn a_resource_that_comes_again_or_goes_between_parts_is_as_it_was_last() {
        let mut assembler = Assembler::default();
        let first = part(false, vec![key("a", 32), key("b", 5), key("c", 32)]);
        assembler.take(first, &Snapshot::default()).unwrap();
        let mut last = part(true, vec![key("b", 32)]);
        last.deletes = vec!["projects/default/apiKeys/a".to_owned()];
        let applicable = whole(assembler.take(last, &Snapshot::default()));
        assert!(applicable.refused.is_empty(), "b is well in its last state");
        let mut names: Vec<_> = applicable
            .change
            .upserts
            .iter()
            .map(|upsert| upsert.name.as_str())
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["projects/default/apiKeys/b", "projects/default/apiKeys/c"]
        );
    }

    #[test]
    fn where_links_lead_is_what_was_said_and_could_be_opened() {
        let said = |url: Option<&str>| {
            let update = wire::ConfigUpdate {
                public_url: url.map(str::to_owned),
                ..part(true, vec![])
            };
            whole(Assembler::default().take(update, &Snapshot::default())).public_url
        };
        assert_eq!(said(None), None);
        for (url, taken) in [
            ("https://box.example.com", "https://box.example.com"),
            (
                "http://127.0.0.1:9443/signalbox",
                "http://127.0.0.1:9443/signalbox",
            ),
            ("", ""),
            ("box.example.com", ""),
            ("javascript:alert(1)", ""),
        ] {
            assert_eq!(said(Some(url)).as_deref(), Some(taken));
        }
    }

    #[test]
    fn parts_that_do_not_belong_together_are_not_put_together() {
        let other = |change: fn(&mut wire::ConfigUpdate)| {
            let mut assembler = Assembler::default();
            assembler
                .take(part(false, vec![key("a", 32)]), &Snapshot::default())
                .unwrap();
            let mut update = part(true, vec![key("b", 32)]);
            change(&mut update);
            assembler
                .take(update, &Snapshot::default())
                .map(|taken| taken.is_some())
        };
        let interleaved = Err(AssembleError::Interleaved);
        assert_eq!(other(|_| {}), Ok(true));
        assert_eq!(other(|update| update.snapshot = false), interleaved);
        assert_eq!(other(|update| update.nonce = "m".into()), interleaved);
        assert_eq!(other(|update| update.incarnation = "j".into()), interleaved);
        let nameless = other(|update| update.incarnation.clear());
        assert_eq!(nameless, Err(AssembleError::NoIncarnation));
        let unfinished = wire::ConfigUpdate {
            snapshot: false,
            ..part(false, vec![])
        };
        let taken = Assembler::default().take(unfinished, &Snapshot::default());
        assert_eq!(taken.map(|taken| taken.is_some()), interleaved);
    }

    #[test]
    fn a_snapshot_without_end_is_given_up_at_the_bound() {
        let mut assembler = Assembler::new(1000);
        let mut parts = 0;
        let error = loop {
            match assembler.take(part(false, vec![key("a", 32)]), &Snapshot::default()) {
                Ok(_) => parts += 1,
                Err(error) => break error,
            }
            assert!(parts < 1000, "no bound");
        };
        assert_eq!(error, AssembleError::TooLarge { max_bytes: 1000 });
        assert!(parts > 1);
        // What had come of it is gone.
        let next = whole(assembler.take(part(true, vec![]), &Snapshot::default()));
        assert!(next.change.upserts.is_empty());
    }
}
