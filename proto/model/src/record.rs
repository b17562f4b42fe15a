//! Records: what a node made durable, in order, and reports to the control plane.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    child::Parent,
    event::Event,
    execution::Fact,
    ids::{DeliveryId, ExecutionName, WorkflowName},
};

/// One thing that happened at a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When.
    pub time: Timestamp,
    /// W3C traceparent of what it belongs to.
    pub traceparent: Option<String>,
    /// What.
    pub body: RecordBody,
}

/// A record with its number in the node's spool. Numbers ascend; gaps may occur.
#[derive(Clone, Debug, PartialEq)]
pub struct SequencedRecord {
    /// From 1.
    pub sequence: u64,
    /// The record.
    pub record: Record,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordBody {
    /// An event became durable and made an execution.
    Accepted(Box<Accepted>),
    /// An execution went on.
    Execution {
        /// Which.
        execution: ExecutionName,
        /// How.
        fact: Fact,
    },
    /// An inbound message got its verdict.
    Delivery(Box<Delivery>),
    /// A subscription changed.
    Subscription(Box<SubscriptionChange>),
    /// A signing certificate was first used.
    Certificate(Certificate),
}

/// An event that became durable, and the execution that it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accepted {
    /// The execution.
    pub execution: ExecutionName,
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The version that is to run.
    pub version: u64,
    /// The event.
    pub event: Event,
    /// The attempt that started it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<Parent>>,
}

/// What became of an inbound message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Durable.
    Accepted,
    /// A copy of an accepted message.
    Duplicate,
    /// Genuine, but not wanted by the trigger's filter policy: answered 200, and nothing came of it.
    Filtered,
    /// Refused.
    Rejected,
}

/// An inbound message and its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id, unique in the workflow.
    pub id: DeliveryId,
    /// Workflow that it was posted to.
    pub workflow: WorkflowName,
    /// What became of it.
    pub verdict: Verdict,
    /// Stable kebab-case reason; empty for `Accepted`.
    pub reason: String,
    /// The same for people. Holds no secret.
    pub detail: String,
    /// Status that the sender got.
    pub http_status: u16,
    /// `Notification`, `SubscriptionConfirmation`, …, `webhook`; empty when unknown.
    pub message_type: String,
    /// Id of the message; of a rejected one, the sender's claim. Empty when unknown.
    pub message_id: String,
    /// Topic, likewise.
    pub topic_arn: String,
    /// Address of the sender.
    pub source_address: String,
    /// Execution that it, or an earlier copy, started.
    pub execution: Option<ExecutionName>,
}

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SubscriptionState {
    /// Its handshake message is durable; it is being confirmed.
    Pending,
    /// Amazon SNS has acknowledged the confirmation.
    Confirmed,
    /// Amazon SNS said that it was cut.
    Unsubscribed,
    /// Its token died unconfirmed.
    Failed,
}

/// A subscription's new state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionChange {
    /// Workflow.
    pub workflow: WorkflowName,
    /// Topic.
    pub topic_arn: String,
    /// Amazon SNS's name of it, if known.
    pub subscription_arn: Option<String>,
    /// Where it stands.
    pub state: SubscriptionState,
    /// Attempts to confirm it so far.
    pub confirm_attempts: u32,
    /// What went wrong in the last attempt.
    pub last_error: Option<String>,
}

/// A signing certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// SHA-256 of the DER form, lower-case hex.
    pub sha256: String,
    /// PEM form.
    pub pem: String,
}
