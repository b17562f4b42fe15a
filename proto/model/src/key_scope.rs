//! What an API key may be used for, and from where.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::{
    ids::{ProjectId, WorkflowId, WorkflowName},
    limits::KEY_SCOPE_MAX,
};

/// For which workflows of its project a key counts, and from which networks. Either may be empty: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyScope {
    workflows: BTreeSet<WorkflowId>,
    source_networks: BTreeSet<IpNet>,
}

/// What is wrong with a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyScopeError {
    /// The workflow in this place.
    #[error("{1}")]
    Workflow(usize, String),
    /// The network in this place.
    #[error("{1}")]
    SourceNetwork(usize, String),
    /// Too many workflows.
    #[error("has {0}; expected {KEY_SCOPE_MAX} at most")]
    Workflows(usize),
    /// Too many networks.
    #[error("has {0}; expected {KEY_SCOPE_MAX} at most")]
    SourceNetworks(usize),
}

impl KeyScopeError {
    /// Which field it is about: `workflows` and `source_networks` are the names of the lists.
    #[must_use]
    pub fn field(&self, workflows: &str, source_networks: &str) -> String {
        match self {
            Self::Workflow(place, _) => format!("{workflows}[{place}]"),
            Self::SourceNetwork(place, _) => format!("{source_networks}[{place}]"),
            Self::Workflows(_) => workflows.to_owned(),
            Self::SourceNetworks(_) => source_networks.to_owned(),
        }
    }
}

impl KeyScope {
    /// The one door: ids or full names of workflows of `project`, which need not exist, and networks in CIDR notation
    /// (RFC 4632, RFC 4291). What is said twice counts once.
    ///
    /// # Errors
    /// All problems.
    pub fn new<S: AsRef<str>>(
        project: &ProjectId,
        workflows: &[S],
        source_networks: &[S],
    ) -> Result<Self, Vec<KeyScopeError>> {
        let mut problems = Vec::new();
        if workflows.len() > KEY_SCOPE_MAX {
            problems.push(KeyScopeError::Workflows(workflows.len()));
        }
        if source_networks.len() > KEY_SCOPE_MAX {
            problems.push(KeyScopeError::SourceNetworks(source_networks.len()));
        }
        let mut scope = Self::default();
        for (place, text) in workflows.iter().enumerate().take(KEY_SCOPE_MAX) {
            match workflow(project, text.as_ref()) {
                Ok(id) => {
                    scope.workflows.insert(id);
                }
                Err(why) => problems.push(KeyScopeError::Workflow(place, why)),
            }
        }
        for (place, text) in source_networks.iter().enumerate().take(KEY_SCOPE_MAX) {
            match network(text.as_ref()) {
                Ok(network) => {
                    scope.source_networks.insert(network);
                }
                Err(why) => problems.push(KeyScopeError::SourceNetwork(place, why)),
            }
        }
        if problems.is_empty() {
            Ok(scope)
        } else {
            Err(problems)
        }
    }

    /// Whether it leaves nothing out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.workflows.is_empty() && self.source_networks.is_empty()
    }

    /// The workflows, in order; none: all.
    pub fn workflows(&self) -> impl ExactSizeIterator<Item = &WorkflowId> {
        self.workflows.iter()
    }

    /// The networks, in order; none: all.
    pub fn source_networks(&self) -> impl ExactSizeIterator<Item = &IpNet> {
        self.source_networks.iter()
    }

    /// The ids of the workflows and the networks, each in order: equal scopes have equal texts.
    #[must_use]
    pub fn to_texts(&self) -> (Vec<String>, Vec<String>) {
        (
            self.workflows.iter().map(ToString::to_string).collect(),
            self.source_networks
                .iter()
                .map(ToString::to_string)
                .collect(),
        )
    }

    /// Whether it holds for this workflow of the key's project.
    #[must_use]
    pub fn has_workflow(&self, workflow: &WorkflowId) -> bool {
        self.workflows.is_empty() || self.workflows.contains(workflow)
    }

    /// Whether it holds for senders at this address. An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
    #[must_use]
    pub fn has_source(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.source_networks.is_empty()
            || self
                .source_networks
                .iter()
                .any(|network| network.contains(&source))
    }
}

/// What of a scope is changed.
#[derive(Clone, Debug, Default)]
pub struct KeyScopeChange {
    /// Has what is changed as it is to be.
    pub given: KeyScope,
    /// Whether the workflows are.
    pub changes_workflows: bool,
    /// Whether the networks are.
    pub changes_source_networks: bool,
}

impl KeyScopeChange {
    /// What becomes of `before`.
    #[must_use]
    pub fn of(&self, mut before: KeyScope) -> KeyScope {
        if self.changes_workflows {
            before.workflows.clone_from(&self.given.workflows);
        }
        if self.changes_source_networks {
            before
                .source_networks
                .clone_from(&self.given.source_networks);
        }
        before
    }
}

fn workflow(project: &ProjectId, text: &str) -> Result<WorkflowId, String> {
    if !text.contains('/') {
        return text
            .parse()
            .map_err(|error: crate::ids::IdError| error.to_string());
    }
    let name: WorkflowName = text
        .parse()
        .map_err(|error: crate::ids::IdError| error.to_string())?;
    if name.project != *project {
        return Err(format!("{name} is of another project than the key"));
    }
    Ok(name.workflow)
}

fn network(text: &str) -> Result<IpNet, String> {
    let shown: String = text.chars().take(64).collect();
    let Ok(network) = text.parse::<IpNet>() else {
        return Err(format!(
            "is {shown:?}; expected a network such as 203.0.113.0/24, 192.0.2.7/32 or 2001:db8::/32"
        ));
    };
    let is_mapped = match network {
        IpNet::V4(_) => false,
        IpNet::V6(network) => network.network().to_ipv4_mapped().is_some(),
    };
    if is_mapped {
        return Err(format!("is {shown:?}; write IPv4 networks as IPv4"));
    }
    // A typing error more often than not.
    if network.trunc() != network {
        return Err(format!(
            "is {shown:?}, whose address has bits beyond its prefix; expected {}",
            network.trunc()
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn scope(workflows: &[&str], networks: &[&str]) -> Result<KeyScope, Vec<KeyScopeError>> {
        KeyScope::new(&ProjectId::default_project(), workflows, networks)
    }

    #[test]
    fn an_empty_scope_is_everything_and_each_list_counts_for_itself() {
        let everything = scope(&[], &[]).unwrap();
        assert!(everything.is_everything());
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let far: IpAddr = "2001:db8::1".parse().unwrap();
        assert!(everything.has_workflow(&a) && everything.has_source(far));

        let one = scope(&["projects/default/workflows/a", "a"], &[]).unwrap();
        assert_eq!(one.workflows().count(), 1);
        assert!(one.has_workflow(&a) && !one.has_workflow(&b) && one.has_source(far));

        let near = scope(&[], &["10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7/32"]).unwrap();
        assert!(near.has_workflow(&b) && !near.has_source(far));
        for (source, is_in) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("::ffff:10.0.0.1", true),
            ("::ffff:11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8:1:ffff::", true),
            ("2001:db8:2::", false),
        ] {
            assert_eq!(near.has_source(source.parse().unwrap()), is_in, "{source}");
        }
        let world = scope(&[], &["0.0.0.0/0"]).unwrap();
        assert!(world.has_source("::ffff:1.2.3.4".parse().unwrap()) && !world.has_source(far));
    }

    #[test]
    fn all_problems_are_told_by_their_places() {
        let wrong = scope(
            &[
                "a",
                "B",
                "projects/other/workflows/a",
                "projects/default/apiKeys/a",
            ],
            &[
                "10.0.0.0/8",
                "10.0.0.0",
                "10.0.0.1/8",
                "::ffff:10.0.0.0/104",
                "10.0.0.0/33",
            ],
        );
        let told: Vec<_> = wrong
            .unwrap_err()
            .iter()
            .map(|problem| format!("{}: {problem}", problem.field("w", "n")))
            .collect();
        assert_eq!(told.len(), 7, "{told:#?}");
        assert!(told[0].starts_with("w[1]: "), "{told:#?}");
        assert_eq!(
            told[1],
            "w[2]: projects/other/workflows/a is of another project than the key"
        );
        assert!(told[2].starts_with("w[3]: "), "{told:#?}");
        assert!(told[3].starts_with("n[1]: is \"10.0.0.0\"; expected a network such as"));
        assert_eq!(
            told[4],
            "n[2]: is \"10.0.0.1/8\", whose address has bits beyond its prefix; expected 10.0.0.0/8"
        );
        assert!(told[5].starts_with("n[3]: "), "{told:#?}");
        assert!(told[6].starts_with("n[4]: "), "{told:#?}");
        let many = vec!["a"; KEY_SCOPE_MAX + 1];
        assert_eq!(
            scope(&many, &[]),
            Err(vec![KeyScopeError::Workflows(KEY_SCOPE_MAX + 1)])
        );
        let many = vec!["10.0.0.0/8"; KEY_SCOPE_MAX + 1];
        assert_eq!(
            scope(&[], &many),
            Err(vec![KeyScopeError::SourceNetworks(KEY_SCOPE_MAX + 1)])
        );
    }
}
