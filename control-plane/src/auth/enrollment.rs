//! Nodes' identities: an enrollment token makes one, once; a proof by its key gets the node's tokens; a revocation ends both.

mod verdict;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use signalbox_model::{
    audit::Change,
    enrollment::{self as proofs, Purpose, SKEW_MAX},
    error::Error,
    ids::{EnrollmentTokenId, EnrollmentTokenName, NodeId, NodeName},
    limits::DISPLAY_NAME_MAX_CHARS,
};
use signalbox_runtime::telemetry::context;

use self::verdict::{Refusal, Verdict, verdict};
use super::{
    Claims, Tokens,
    tokens::{FORGET_AFTER, micros},
};
use crate::{
    crypto::EnrollmentSecret,
    store::{Actor, EnrollmentTokenRow, NodeIdentityRow, Page, PageOf, RevokedTokenRow, Tx},
};

/// How long nodes' tokens count when nobody says.
pub const NODE_TOKEN_TTL_DEFAULT: Duration = Duration::from_secs(3600);
/// How long they may count, at least and at most.
pub const NODE_TOKEN_TTL_MIN: Duration = Duration::from_secs(1);
/// See [`NODE_TOKEN_TTL_MIN`].
pub const NODE_TOKEN_TTL_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long an enrollment token can be used when nobody says, and at most.
const TTL_DEFAULT: Duration = Duration::from_secs(3600);
const TTL_MAX: Duration = Duration::from_secs(7 * 86_400);
/// How long it is known that there was one, after its end.
const REMEMBERED: Duration = Duration::from_secs(7 * 86_400);
/// Those that are known at once.
const TOKENS_MAX: u64 = 10_000;
/// Refusals of one enrollment token that are audited: whoever has a used one may try for ever.
const REFUSALS_AUDITED: i64 = 10;

/// What a new enrollment token is given.
#[derive(Clone, Debug, Default)]
pub struct NewEnrollmentToken {
    /// The node that it is for; none: any without an identity.
    pub node: Option<NodeId>,
    /// Name for people.
    pub display_name: String,
    /// How long it can be used.
    pub ttl: Option<Duration>,
}

/// That a sender has a private key.
#[derive(Clone, Debug)]
pub struct Proof {
    /// By its clock.
    pub time: Timestamp,
    /// Of the statement.
    pub signature: Vec<u8>,
}

/// A node that wants an identity.
#[derive(Clone, Debug)]
pub struct Enrolling {
    /// By what.
    pub secret: EnrollmentSecret,
    /// Which node.
    pub node: NodeId,
    /// What it is to be known by.
    pub public_key: Vec<u8>,
    /// By that key.
    pub proof: Proof,
}

/// A node that wants a token.
#[derive(Clone, Debug)]
pub struct Renewing {
    /// Which.
    pub node: NodeId,
    /// By its key.
    pub proof: Proof,
}

impl Proof {
    fn time_us(&self) -> i64 {
        self.time.as_microsecond()
    }

    /// That it is of about now, and by the key.
    fn check(&self, key: &[u8], purpose: Purpose<'_>, node: &NodeId) -> Result<(), Error> {
        let now = Timestamp::now();
        let skew = now.duration_since(self.time).abs();
        if skew > SignedDuration::try_from(SKEW_MAX).unwrap_or(SignedDuration::MAX) {
            let message = format!(
                "the proof is of {}, and it is {now} here: the clocks differ by more than {} s",
                self.time,
                SKEW_MAX.as_secs()
            );
            return Err(denied("PROOF_TIME", message));
        }
        let statement = proofs::statement(purpose, node, self.time);
        match proofs::is_signed(key, &statement, &self.signature) {
            true => Ok(()),
            false => Err(unknown_identity()),
        }
    }
}

fn denied(reason: &'static str, message: impl Into<String>) -> Error {
    Error::Denied {
        reason,
        message: message.into(),
    }
}

/// The same for both, so that nobody learns which nodes there are.
fn unknown_identity() -> Error {
    denied(
        "IDENTITY_UNKNOWN",
        "there is no such identity, or the proof is not by its key",
    )
}

/// A proof that was seen before, or is older than one that was.
fn replayed() -> Error {
    denied(
        "PROOF_REPLAYED",
        "the proof is not later than the last one: it was used, or the node's clock was put back",
    )
}

/// What an enrollment came to; a refusal is written down, too.
enum Outcome {
    Enrolled {
        identity: String,
        /// Whether another identity of the node ended.
        replaced: bool,
    },
    Refused(Refusal),
}

/// The audit log's entry is by the token: that it was made says by whom.
fn by(token: &EnrollmentTokenRow) -> Actor {
    Actor {
        subject: token_name(token),
        request_id: None,
        trace_id: context::trace_id(&tracing::Span::current()),
    }
}

fn token_name(token: &EnrollmentTokenRow) -> String {
    format!("enrollmentTokens/{}", token.id)
}

async fn enroll(tx: &mut Tx, asked: &Enrolling, digest: &[u8]) -> Result<Outcome, Error> {
    let Some(token) = tx.enrollment_token_by_digest(digest).await? else {
        return Err(unknown_token());
    };
    let before = tx.node_identity(&asked.node).await?;
    match verdict(&token, before.as_ref(), asked, tx.now_us()) {
        Verdict::Nothing(refusal) => refuse(tx, token, asked, refusal).await,
        Verdict::Again(own) => {
            let identity = renewed(tx, own.clone(), &asked.proof).await?.id;
            let replaced = false;
            Ok(Outcome::Enrolled { identity, replaced })
        }
        Verdict::New => admit(tx, token, asked, before).await,
    }
}

/// Notes that a node gets a token, by a proof that is used up.
async fn renewed(
    tx: &Tx,
    identity: NodeIdentityRow,
    proof: &Proof,
) -> Result<NodeIdentityRow, Error> {
    tx.update_node_identity(NodeIdentityRow {
        renew_time_us: tx.now_us(),
        proof_time_us: proof.time_us(),
        ..identity
    })
    .await
}

async fn refuse(
    tx: &mut Tx,
    token: EnrollmentTokenRow,
    asked: &Enrolling,
    refusal: Refusal,
) -> Result<Outcome, Error> {
    if token.refusals < REFUSALS_AUDITED {
        let changes = vec![Change::new_field("refused", refusal.reason())];
        let node = NodeName {
            node: asked.node.clone(),
        };
        tx.audit(&by(&token), "EnrollNode", &node.to_string(), changes);
        tx.update_enrollment_token(EnrollmentTokenRow {
            refusals: token.refusals + 1,
            ..token
        })
        .await?;
    }
    Ok(Outcome::Refused(refusal))
}

async fn admit(
    tx: &mut Tx,
    token: EnrollmentTokenRow,
    asked: &Enrolling,
    before: Option<NodeIdentityRow>,
) -> Result<Outcome, Error> {
    let identity = format!("i{}", uuid::Uuid::new_v4().simple());
    let node = NodeName {
        node: asked.node.clone(),
    };
    let actor = by(&token);
    let live = before.filter(|before| before.revoke_time_us.is_none());
    if let Some(live) = &live {
        revoke_identity(tx, &actor, live, "the node enrolled anew").await?;
    }
    tx.put_node_identity(NodeIdentityRow {
        node: asked.node.to_string(),
        id: identity.clone(),
        public_key: asked.public_key.clone(),
        display_name: token.display_name.clone(),
        enrollment_token: token.id.clone(),
        enroll_time_us: tx.now_us(),
        renew_time_us: tx.now_us(),
        proof_time_us: asked.proof.time_us(),
        revoke_time_us: None,
    })
    .await?;
    let mut changes = Vec::new();
    if !token.display_name.is_empty() {
        changes.push(Change::new_field("displayName", token.display_name.clone()));
    }
    changes.push(Change::new_field("identity", identity.clone()));
    tx.audit(&actor, "EnrollNode", &node.to_string(), changes);
    tx.update_enrollment_token(EnrollmentTokenRow {
        use_time_us: Some(tx.now_us()),
        used_by: Some(asked.node.to_string()),
        ..token
    })
    .await?;
    Ok(Outcome::Enrolled {
        identity,
        replaced: live.is_some(),
    })
}

/// Lets no token of an identity count any more. When all that there can be have ended, that is forgotten.
async fn revoke_identity(
    tx: &mut Tx,
    actor: &Actor,
    identity: &NodeIdentityRow,
    reason: &str,
) -> Result<(), Error> {
    let row = RevokedTokenRow {
        id: identity.id.clone(),
        expire_time_us: Some(tx.now_us() + micros(NODE_TOKEN_TTL_MAX)),
        revoke_time_us: tx.now_us(),
        actor: actor.subject.clone(),
        reason: format!("nodes/{}: {reason}", identity.node),
    };
    let forget_before = tx.now_us() - micros(FORGET_AFTER);
    // However many are revoked: a node that is to go must go.
    tx.revoke_token(row, forget_before, u64::MAX).await?;
    Ok(())
}

fn unknown_token() -> Error {
    denied(
        "ENROLLMENT_TOKEN_UNKNOWN",
        "there is no such enrollment token: it was deleted, or is long over",
    )
}

impl Tokens {
    /// Makes an enrollment token; its secret leaves here only.
    ///
    /// # Errors
    /// `Invalid`; `Exhausted` when there are too many.
    pub async fn create_enrollment_token(
        &self,
        actor: &Actor,
        new: NewEnrollmentToken,
    ) -> Result<(EnrollmentTokenRow, EnrollmentSecret), Error> {
        let ttl = new.ttl.unwrap_or(TTL_DEFAULT);
        if ttl.is_zero() || ttl > TTL_MAX {
            let what = format!(
                "is not more than nothing, and at most {} days",
                TTL_MAX.as_secs() / 86_400
            );
            return Err(Error::invalid("ttl", what));
        }
        if new.display_name.chars().count() > DISPLAY_NAME_MAX_CHARS {
            let what = format!("has more than {DISPLAY_NAME_MAX_CHARS} characters");
            return Err(Error::invalid("display_name", what));
        }
        let secret = EnrollmentSecret::generate().map_err(|error| Error::Internal {
            message: error.to_string(),
        })?;
        let row = self.store().write(async |tx| {
            let row = EnrollmentTokenRow {
                id: format!("e{}", uuid::Uuid::new_v4().simple()),
                digest: secret.digest(),
                node: new.node.as_ref().map(NodeId::to_string),
                display_name: new.display_name.clone(),
                actor: actor.subject.clone(),
                create_time_us: tx.now_us(),
                expire_time_us: tx.now_us() + micros(ttl),
                use_time_us: None,
                used_by: None,
                refusals: 0,
            };
            let forget = tx.now_us() - micros(REMEMBERED);
            let row = tx.insert_enrollment_token(row, forget, TOKENS_MAX).await?;
            let mut changes = vec![Change::new_field("ttl", format!("{}s", ttl.as_secs()))];
            if let Some(node) = &new.node {
                changes.push(Change::new_field("node", format!("nodes/{node}")));
            }
            tx.audit(actor, "CreateEnrollmentToken", &token_name(&row), changes);
            Ok(row)
        });
        Ok((row.await?, secret))
    }

    /// Enrollment tokens, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrollment_tokens(
        &self,
        page: &Page,
    ) -> Result<PageOf<EnrollmentTokenRow>, Error> {
        self.store().enrollment_tokens(page).await
    }

    /// Deletes an enrollment token.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_enrollment_token(
        &self,
        actor: &Actor,
        id: &EnrollmentTokenId,
    ) -> Result<(), Error> {
        let name = EnrollmentTokenName {
            enrollment_token: id.clone(),
        };
        let deleted = self.store().write(async |tx| {
            if !tx.delete_enrollment_token(id).await? {
                return Err(Error::not_found(&name));
            }
            tx.audit(
                actor,
                "DeleteEnrollmentToken",
                &name.to_string(),
                Vec::new(),
            );
            Ok(())
        });
        deleted.await
    }

    /// Makes a node of who presents an enrollment token, in the transaction that uses the token up; gives it a token for `ttl`.
    ///
    /// # Errors
    /// `Denied` with the reason.
    pub async fn enroll(&self, asked: &Enrolling, ttl: Duration) -> Result<String, Error> {
        let purpose = Purpose::Enroll(asked.secret.expose());
        asked.proof.check(&asked.public_key, purpose, &asked.node)?;
        let digest = asked.secret.digest();
        // Read first: what is made up costs no transaction that writes.
        let found = self.store().enrollment_token_by_digest(&digest).await?;
        if found.is_none() {
            return Err(unknown_token());
        }
        let outcome = self
            .store()
            .write(async |tx| enroll(tx, asked, &digest).await);
        match outcome.await? {
            Outcome::Refused(refusal) => {
                let (node, reason) = (&asked.node, refusal.reason());
                tracing::warn!(%node, reason, "a node that would enroll was refused");
                Err(refusal.into())
            }
            Outcome::Enrolled { identity, replaced } => {
                if replaced {
                    self.reload().await?;
                }
                tracing::info!(node = %asked.node, "a node has enrolled");
                self.mint_for(&asked.node, &identity, ttl)
            }
        }
    }

    /// A token for `ttl` for a node that has an identity.
    ///
    /// # Errors
    /// `Denied` with the reason.
    pub async fn renew(&self, asked: &Renewing, ttl: Duration) -> Result<String, Error> {
        let Renewing { node, proof } = asked;
        let found = self.store().node_identity(node).await?;
        let found = found.ok_or_else(unknown_identity)?;
        // Before the transaction, for the same reason.
        proof.check(&found.public_key, Purpose::Renew, node)?;
        let renewed = self.store().write(async |tx| {
            let identity = tx.node_identity(node).await?;
            let identity = identity
                .filter(|identity| identity.public_key == found.public_key)
                .ok_or_else(unknown_identity)?;
            if identity.revoke_time_us.is_some() {
                return Err(denied("NODE_REVOKED", "the node's identity is revoked"));
            }
            if proof.time_us() <= identity.proof_time_us {
                return Err(replayed());
            }
            renewed(tx, identity, proof).await
        });
        self.mint_for(node, &renewed.await?.id, ttl)
    }

    fn mint_for(&self, node: &NodeId, identity: &str, ttl: Duration) -> Result<String, Error> {
        self.mint(&Claims::of_node(node, identity, ttl))
            .map_err(|error| {
                tracing::error!(%error, "a node's token cannot be signed");
                Error::Internal {
                    message: "the token cannot be signed; the log says why".to_owned(),
                }
            })
    }

    /// Ends the identity of a node, its tokens, and what was opened with them.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it has none.
    pub async fn revoke_node(&self, actor: &Actor, node: &NodeId) -> Result<(), Error> {
        self.store().node(node).await?;
        let name = NodeName { node: node.clone() }.to_string();
        let revoked = self.store().write(async |tx| {
            let Some(identity) = tx.node_identity(node).await? else {
                return Err(Error::Precondition {
                    subject: name.clone(),
                    reason: "NODE_NOT_ENROLLED",
                    message: format!(
                        "{name} has no identity: revoke the token that it has instead"
                    ),
                });
            };
            if identity.revoke_time_us.is_some() {
                return Ok(());
            }
            revoke_identity(tx, actor, &identity, "the node was revoked").await?;
            let changes = vec![Change::new_field("revokedIdentity", identity.id.clone())];
            tx.audit(actor, "RevokeNode", &name, changes);
            tx.update_node_identity(NodeIdentityRow {
                revoke_time_us: Some(tx.now_us()),
                ..identity
            })
            .await
            .map(|_| ())
        });
        revoked.await?;
        self.reload().await
    }
}
