//! Links for approvals: tokens of our own key, or of that of the node that an execution is at, that decide one approval one way,
//! for whoever holds them.

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, NodeId, StepInstance},
    limits,
    link::{self, AUDIENCE, Link},
    signal::ApprovalDecision,
};

use super::{
    Tokens,
    token::{PublicKey, kid_of, refused},
};
use crate::store::Store;

/// Makes links, and reads them.
#[derive(Clone, Debug)]
pub struct Links {
    tokens: Tokens,
    store: Store,
    public_url: Option<String>,
}

/// That what a node says is its key can verify links.
///
/// # Errors
/// `Invalid`.
pub fn check_link_key(public_key: &[u8]) -> Result<(), Error> {
    PublicKey::new(public_key).map(drop).map_err(|_| {
        Error::invalid(
            "hello.link_public_key",
            "is no Ed25519 public key of 32 bytes",
        )
    })
}

impl Links {
    /// Signed by the key of `tokens`, below `public_url`: none are made without it. Those of nodes are verified by what `store`
    /// says of these.
    #[must_use]
    pub fn new(tokens: Tokens, store: Store, public_url: Option<String>) -> Self {
        Self {
            tokens,
            store,
            public_url,
        }
    }

    /// The URL of a link for `label` that decides `step`, until `expires_at`.
    ///
    /// # Errors
    /// `Precondition` when the control plane does not know its own URL.
    pub fn url(
        &self,
        of: (&ExecutionName, &StepInstance),
        decision: ApprovalDecision,
        label: &str,
        expires_at: Timestamp,
    ) -> Result<String, Error> {
        let Some(public_url) = &self.public_url else {
            return Err(Error::Precondition {
                subject: of.0.to_string(),
                reason: "LINKS_OFF",
                message: "the control plane does not know where people reach it: set --public-url"
                    .to_owned(),
            });
        };
        let times = (Timestamp::now().as_second(), expires_at.as_second());
        let link = Link::new(label, uuid::Uuid::new_v4(), times, of, decision);
        let token = self.tokens.sign(&link).map_err(|error| {
            tracing::error!(%error, "a link cannot be signed");
            Error::Internal {
                message: "the link cannot be signed".to_owned(),
            }
        })?;
        Ok(link::url(public_url, &token))
    }

    /// What a link's token says.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason, never with a part of the token; `Precondition` when it is of a node that has not told of
    /// its execution yet.
    pub async fn read(&self, token: &str) -> Result<Link, Error> {
        let key_id = kid_of(token)?;
        let link: Link = match key_id.parse::<NodeId>() {
            Ok(node) if !self.tokens.knows(&key_id) => self.of_node(&node, token).await?,
            _ => self.tokens.claims_of(token, AUDIENCE)?,
        };
        self.tokens.check(&link.jti.to_string())?;
        Ok(link)
    }

    /// A link that a step sent, which counts for executions at the node that made it.
    async fn of_node(&self, node: &NodeId, token: &str) -> Result<Link, Error> {
        let key = self.store.link_key(node).await?;
        let key = key.and_then(|key| PublicKey::new(&key).ok());
        let key = key.ok_or_else(|| {
            refused(
                "TOKEN_SIGNATURE_INVALID",
                "the link's signature is not by a key of a node that is known",
            )
        })?;
        let link: Link = key.claims_of(token, AUDIENCE)?;
        let ttl_s = link.exp.saturating_sub(link.iat);
        if u64::try_from(ttl_s).is_ok_and(|ttl_s| ttl_s > limits::LINK_TTL_MAX.as_secs()) {
            return Err(refused("TOKEN_MALFORMED", "the link counts for too long"));
        }
        match self.store.node_of(&link.execution).await? {
            Some(at) if at == node.as_str() => Ok(link),
            Some(_) => Err(refused(
                "LINK_NODE",
                "the link is by another node than the one that its execution is at",
            )),
            None => Err(Error::Precondition {
                subject: link.execution.to_string(),
                reason: "NOT_WAITING",
                message:
                    "nothing is known of its execution yet, or not any more; come back in a moment"
                        .to_owned(),
            }),
        }
    }
}
