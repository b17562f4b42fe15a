//! What a webhook goes through: key, workflow, envelope, certificate, signature, policy, spool; and what is answered.
//!
//! The order is the promise (DESIGN.md §4.1): the key is checked before anything is revealed, no request is made to the
//! outside before key and topic are known to be right, and 200 leaves only after the spool has made the message durable.

mod authorize;
mod budget;
mod certificates;
pub mod confirm;
mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod problem;
mod sns;
mod webhook;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Uri};
use jiff::Timestamp;
use signalbox_model::{
    config::{PublishedVersion, WorkflowConfig},
    ids::{ApiKeyName, ExecutionName, WorkflowName},
    record::{Delivery, Record, RecordBody, Verdict},
};
use signalbox_proto::convert;
use signalbox_runtime::telemetry::context;
use signalbox_sns::TrustPolicy;

use crate::{
    config::{self, ConfigStore, Limited, Usage},
    spool::{Acceptance, Spool, SpoolError, delivery_id},
};

pub use self::{
    budget::{Budget, Standing},
    certificates::Certificates,
};
pub(crate) use filter::REASON as FILTERED;
pub use problem::Problem;
pub use sns::read_scope;

/// Which webhook was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `…/sns`.
    Sns,
    /// `…/webhook`.
    Webhook,
}

impl Kind {
    /// The last segment of the route.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sns => "sns",
            Self::Webhook => "webhook",
        }
    }
}

/// A request, its body still to come.
pub struct Head {
    /// Which webhook.
    pub kind: Kind,
    /// Which workflow.
    pub workflow: WorkflowName,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its target. The query holds the key: never logged.
    pub uri: Uri,
    /// Address of the sender.
    pub source: IpAddr,
    /// Whether it is: what proxies said of it may not be clear, and it is a proxy's then.
    pub is_source_clear: bool,
    /// When it came.
    pub received_at: Timestamp,
}

/// What is answered.
#[derive(Debug)]
pub enum Answer {
    /// 200: durable.
    Accepted {
        /// Its execution; none for handshake messages.
        execution: Option<ExecutionName>,
        /// Whether an earlier copy was durable already.
        duplicate: bool,
    },
    /// 200: genuine, and not wanted by the trigger's filter policy. Nothing comes of it.
    Filtered,
    /// Anything else.
    Problem(Problem),
}

/// A caller with a live key of the workflow's project, and the workflow.
pub struct Authorized {
    head: Head,
    key: ApiKeyName,
    usage: Arc<Usage>,
    workflow: Arc<Limited<WorkflowConfig>>,
    published: PublishedVersion,
}

impl Authorized {
    /// The request that was authorised.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What the requests with its key take.
    #[must_use]
    pub fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// Whether this node can run what it is for.
    async fn is_readable(&self) -> bool {
        let project = &self.head.workflow.project;
        if self.published.is_read() {
            return convert::config::check(&self.published, project).is_ok();
        }
        Box::pin(config::read(&self.published, project))
            .await
            .is_ok()
    }
}

/// A request that came to nothing before its body was read.
pub struct Turned {
    /// The request.
    pub head: Head,
    /// Why.
    pub problem: Problem,
    /// Who was refused.
    pub standing: Standing,
}

/// What a message says of itself, as far as it could be read: for its delivery's record.
#[derive(Debug, Default)]
struct Seen {
    message_type: String,
    message_id: String,
    topic_arn: String,
    execution: Option<ExecutionName>,
}

/// An authorised request whose body was read as far as the trace context needs it.
pub struct Prepared {
    authorized: Authorized,
    body: Bytes,
    /// W3C traceparent that the message itself carries (an attribute; unsigned, but so is every trace context).
    pub traceparent: Option<String>,
}

impl Prepared {
    /// The request.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.authorized.head
    }
}

/// Takes webhooks.
pub struct Ingest {
    /// Keys and workflows.
    pub config: Arc<ConfigStore>,
    /// Where what is accepted goes.
    pub spool: Arc<dyn Spool>,
    /// Signing certificates.
    pub certificates: Certificates,
    /// Whose certificates count, beside AWS's.
    pub trust: TrustPolicy,
    /// How long copies are recognised, and the age beyond which a signed message is refused.
    pub deduplication_window: Duration,
    /// How many refusals and copies are recorded.
    pub budget: Budget,
}

impl Ingest {
    /// Checks the key, finds the workflow, counts the request against the rates of both: before the body is read, so that
    /// strangers and floods cannot make us read one.
    ///
    /// # Errors
    /// The answer, when there is nothing more to be done.
    pub fn authorize(&self, head: Head) -> Result<Authorized, Box<Turned>> {
        let knows_all = !self.config.contact().is_lost();
        authorize::authorize(&self.config.current(), knows_all, head)
    }

    /// Takes the body of an authorised request.
    #[must_use]
    pub fn prepare(&self, authorized: Authorized, body: Bytes) -> Prepared {
        let traceparent = match authorized.head.kind {
            Kind::Sns => sns::traceparent(&body),
            Kind::Webhook => None,
        };
        Prepared {
            authorized,
            body,
            traceparent,
        }
    }

    /// Goes the whole way.
    pub async fn handle(&self, prepared: Prepared, traceparent: Option<String>) -> Answer {
        let Prepared {
            authorized, body, ..
        } = prepared;
        let _arriving = self.spool.arriving();
        let mut seen = Seen::default();
        let result = match authorized.head.kind {
            // Once for each version: of a node that started with many, it may not have come to this one.
            _ if !authorized.is_readable().await => Err(Problem::unreadable()),
            Kind::Sns => {
                sns::handle(self, &authorized, &body, &mut seen, traceparent.clone()).await
            }
            Kind::Webhook => {
                let handled =
                    webhook::handle(self, &authorized, &body, &mut seen, traceparent.clone());
                Box::pin(handled).await
            }
        };
        match result {
            Ok(answer) => {
                if let Answer::Accepted {
                    execution: Some(execution),
                    duplicate: true,
                } = &answer
                {
                    seen.execution = Some(execution.clone());
                    self.note_duplicate(&authorized.head, seen, traceparent);
                }
                answer
            }
            Err(problem) => {
                // It failed before the body said what it is: what the headers say is all that there is.
                if seen.message_type.is_empty() {
                    note_claims(&mut seen, &authorized.head);
                }
                let standing = Standing::Caller;
                self.reject(&authorized.head, seen, &problem, traceparent, standing);
                Answer::Problem(problem)
            }
        }
    }

    /// Notes a refusal of a request that never got to [`Ingest::handle`].
    pub fn refuse(
        &self,
        head: &Head,
        problem: &Problem,
        traceparent: Option<String>,
        standing: Standing,
    ) {
        let mut seen = Seen::default();
        note_claims(&mut seen, head);
        self.reject(head, seen, problem, traceparent, standing);
    }

    /// The record of a copy. Its sender is answered rightly whether there is one or not.
    fn note_duplicate(&self, head: &Head, seen: Seen, traceparent: Option<String>) {
        let recorded = self.budget.take(Standing::Duplicate, &head.workflow) && {
            let (reason, detail) = ("duplicate", "an earlier copy of this message was accepted");
            let verdict = Verdict::Duplicate;
            let delivery = delivery(head, seen, verdict, reason, detail, StatusCode::OK);
            self.spool.offer(Record {
                time: head.received_at,
                traceparent,
                body: RecordBody::Delivery(Box::new(delivery)),
            })
        };
        if !recorded {
            metrics::counter!("signalbox_ingest_duplicates_unrecorded_total").increment(1);
        }
    }

    /// The record of a refusal, for workflows that exist. It may be lost under load: the sender still has the message.
    fn reject(
        &self,
        head: &Head,
        seen: Seen,
        problem: &Problem,
        traceparent: Option<String>,
        standing: Standing,
    ) {
        if self.config.current().workflow(&head.workflow).is_none() {
            return;
        }
        if !self.budget.take(standing, &head.workflow) {
            return unrecorded();
        }
        let delivery = delivery(
            head,
            seen,
            Verdict::Rejected,
            problem.reason,
            &problem.detail,
            problem.status,
        );
        log(&delivery, traceparent.as_deref());
        let record = Record {
            time: head.received_at,
            traceparent,
            body: RecordBody::Delivery(Box::new(delivery)),
        };
        if !self.spool.offer(record) {
            unrecorded();
        }
    }
}

/// What a request claims to be, before its body is read.
fn note_claims(seen: &mut Seen, head: &Head) {
    match head.kind {
        Kind::Sns => sns::note_headers(seen, &sns::sns_headers(&head.headers)),
        Kind::Webhook => "webhook".clone_into(&mut seen.message_type),
    }
}

fn unrecorded() {
    metrics::counter!("signalbox_ingest_rejections_unrecorded_total").increment(1);
}

/// The line of a refusal that is recorded, and so of no more than the budget lets through. Ids are the sender's claims.
fn log(delivery: &Delivery, traceparent: Option<&str>) {
    tracing::info!(
        workflow = %delivery.workflow,
        reason = delivery.reason,
        status = delivery.http_status,
        source_address = delivery.source_address,
        message_id = delivery.message_id,
        topic_arn = delivery.topic_arn,
        trace_id = traceparent.and_then(context::trace_id_of),
        "a delivery was refused"
    );
}

fn delivery(
    head: &Head,
    seen: Seen,
    verdict: Verdict,
    reason: &str,
    detail: &str,
    status: StatusCode,
) -> Delivery {
    Delivery {
        id: delivery_id(head.received_at),
        workflow: head.workflow.clone(),
        verdict,
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        http_status: status.as_u16(),
        message_type: seen.message_type,
        message_id: seen.message_id,
        topic_arn: seen.topic_arn,
        source_address: head.source.to_string(),
        execution: seen.execution,
    }
}

/// The answer to what the spool said.
fn answered(acceptance: Acceptance, execution: ExecutionName) -> Result<Answer, Problem> {
    match acceptance {
        Acceptance::New => Ok(Answer::Accepted {
            execution: Some(execution),
            duplicate: false,
        }),
        Acceptance::Duplicate => Ok(Answer::Accepted {
            execution: Some(execution),
            duplicate: true,
        }),
        Acceptance::Conflict => Err(Problem::forbidden(
            "message-id-reused",
            "an earlier message with this id has other content",
        )),
    }
}

/// Whatever the spool cannot do is for the sender to try again (invariant I4).
fn spool_problem(error: &SpoolError) -> Problem {
    match error {
        SpoolError::Full => {
            Problem::unavailable("spool-full", "the node has no room; try again later")
        }
        SpoolError::Overloaded => {
            Problem::unavailable("overloaded", "the node is overloaded; try again")
        }
        SpoolError::Closed => {
            Problem::unavailable("draining", "the node is shutting down; try again")
        }
        SpoolError::Failed(_) => {
            Problem::unavailable("spool-failed", "the node cannot write; try again elsewhere")
        }
    }
}

/// `time` and `duration`, or the end of time.
fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
