//! Who calls, and whether it may: JWTs of our own (EdDSA, RFC 8037) or of OpenID Connect issuers, and one table of roles.

mod authenticator;
mod enrollment;
mod layer;
mod link;
mod oidc;
mod roles;
mod streams;
mod token;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::{NodeId, ProjectId},
};
use signalbox_runtime::telemetry::context;
use tonic::Request;

pub use authenticator::Authenticator;
pub use enrollment::{
    Enrolling, NODE_TOKEN_TTL_DEFAULT, NODE_TOKEN_TTL_MAX, NODE_TOKEN_TTL_MIN, NewEnrollmentToken,
    Proof, Renewing,
};
pub use layer::{AuthLayer, AuthService};
pub use link::{Links, check_link_key};
pub use oidc::{Oidc, OidcConfigError};
pub use roles::{METHODS, Requirement, Role};
pub use token::{ALL_PROJECTS, Claims, SIGNING_KEY_FILE, TokenError, TokenKey, id_and_end};
pub use tokens::Tokens;

use crate::store::Actor;

/// Who calls: what a valid token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its subject.
    pub subject: String,
    /// Roles by project name (`projects/{project}`), or `*`.
    pub roles: BTreeMap<String, Role>,
    /// Its token, when that is one of our own: it may be revoked.
    pub token: Option<OwnToken>,
    /// Until when its token counts; by how much clocks may differ is in it.
    pub ends_at: Timestamp,
}

/// Which token of our own it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnToken {
    /// Its id.
    pub id: String,
    /// That of its key.
    pub key_id: String,
    /// The node that it is of, and counts for only, when it is an enrolled node's.
    pub of_node: Option<OfNode>,
}

impl OwnToken {
    /// Its id, and its node's identity: with either, it is revoked.
    fn revocable_ids(&self) -> impl Iterator<Item = &str> {
        let identity = self.of_node.iter().map(|of| of.identity.as_str());
        std::iter::once(self.id.as_str()).chain(identity)
    }
}

/// An enrolled node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfNode {
    /// Which.
    pub node: NodeId,
    /// Id of its identity: another with each enrollment.
    pub identity: String,
}

impl Identity {
    fn role_in(&self, project: &ProjectId) -> Option<Role> {
        let name = format!("projects/{project}");
        let everywhere = self.roles.get(ALL_PROJECTS).copied();
        everywhere.max(self.roles.get(&name).copied())
    }

    /// The projects in which a role is enough; none: all there are.
    fn projects(&self, requirement: Requirement) -> Option<BTreeSet<String>> {
        let everywhere = self.roles.get(ALL_PROJECTS).copied();
        if requirement.is_met_by(everywhere) {
            return None;
        }
        let projects = self.roles.iter().filter_map(|(name, role)| {
            let id = name.strip_prefix("projects/")?;
            requirement.is_met_by(Some(*role)).then(|| id.to_owned())
        });
        Some(projects.collect())
    }

    fn highest(&self) -> Option<Role> {
        self.roles.values().copied().max()
    }
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
struct Target {
    path: &'static str,
    requirement: Requirement,
}

/// An authorised caller.
#[derive(Clone, Debug)]
pub struct Caller(Identity);

impl Caller {
    /// The caller of a request about `project`, when its role there is enough for the method. The method is the one that
    /// the layer found: a handler cannot name another.
    ///
    /// # Errors
    /// `Denied` with what is needed.
    pub fn of<T>(request: &Request<T>, project: &ProjectId) -> Result<Self, Error> {
        let (identity, target) = parts(request)?;
        let role = identity.role_in(project);
        check(identity, target, role, &format!("projects/{project}"))
    }

    /// The caller of a request about the installation, when its role in all projects is enough for the method.
    ///
    /// # Errors
    /// `Denied` with what is needed.
    pub fn everywhere<T>(request: &Request<T>) -> Result<Self, Error> {
        let (identity, target) = parts(request)?;
        let role = identity.roles.get(ALL_PROJECTS).copied();
        check(identity, target, role, "all projects")
    }

    /// The ids of the projects in which the role of the caller of a request is enough for the method; none: all there are.
    ///
    /// # Errors
    /// `Denied` with what is needed, when there is no such project.
    pub fn projects<T>(request: &Request<T>) -> Result<Option<BTreeSet<String>>, Error> {
        let (identity, target) = parts(request)?;
        let projects = identity.projects(target.requirement);
        if projects.as_ref().is_some_and(BTreeSet::is_empty) {
            check(identity, target, None, "some project")?;
        }
        Ok(projects)
    }

    /// The caller of a request about no project.
    ///
    /// # Errors
    /// `Denied` with what is needed.
    pub fn anywhere<T>(request: &Request<T>) -> Result<Self, Error> {
        let (identity, target) = parts(request)?;
        let role = identity.highest();
        check(identity, target, role, "some project")
    }

    /// Whether its role in a project is this one or a higher one: of a method whose requests need different ones.
    #[must_use]
    pub fn has(&self, role: Role, project: &ProjectId) -> bool {
        Requirement::AtLeast(role).is_met_by(self.0.role_in(project))
    }

    /// That it may speak for `node`: an enrolled node speaks for itself only.
    ///
    /// # Errors
    /// `Denied`.
    pub fn check_node(&self, node: &NodeId) -> Result<(), Error> {
        let of_node = self
            .0
            .token
            .as_ref()
            .and_then(|token| token.of_node.as_ref());
        match of_node {
            Some(of_node) if of_node.node != *node => Err(Error::Denied {
                reason: "NODE_MISMATCH",
                message: format!(
                    "the token is of nodes/{}, and not of nodes/{node}",
                    of_node.node
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Who it is, for the audit log.
    #[must_use]
    pub fn actor(&self, request_id: &str) -> Actor {
        Actor {
            subject: self.0.subject.clone(),
            request_id: (!request_id.is_empty()).then(|| request_id.to_owned()),
            trace_id: context::trace_id(&tracing::Span::current()),
        }
    }
}

fn parts<T>(request: &Request<T>) -> Result<(&Identity, Target), Error> {
    let extensions = request.extensions();
    match (extensions.get::<Identity>(), extensions.get::<Target>()) {
        (Some(identity), Some(target)) => Ok((identity, *target)),
        // Only a server composed without the layer gets here: deny.
        _ => Err(Error::Unauthenticated {
            reason: "TOKEN_MISSING",
            message: "the call carries no identity".to_owned(),
        }),
    }
}

fn check(
    identity: &Identity,
    target: Target,
    role: Option<Role>,
    place: &str,
) -> Result<Caller, Error> {
    if target.requirement.is_met_by(role) {
        return Ok(Caller(identity.clone()));
    }
    Err(Error::Denied {
        reason: "ROLE_TOO_LOW",
        message: format!(
            "{} needs role {} in {place}; the token of {:?} has {}",
            target.path,
            target.requirement,
            identity.subject,
            role.map_or("none".to_owned(), |role| role.to_string()),
        ),
    })
}

#[cfg(test)]
mod tests;
