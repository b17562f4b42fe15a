//! The tables as SeaORM sees them. Private to the store, but for the plain rows.
//!
//! Times (`…_us`) are microseconds since the Unix epoch, in UTC.
#![allow(
    unreachable_pub,
    reason = "SeaORM derives public items; the module itself is private"
)]
#![allow(missing_docs, reason = "the migrations say what the columns hold")]

/// One API key.
pub mod api_key {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    // Kept as JSON when it is deleted: what an earlier version wrote lacks columns that came later.
    #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
    #[serde(default)]
    #[sea_orm(table_name = "api_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub display_name: String,
        pub prefix: String,
        #[sea_orm(column_type = "Blob")]
        pub digest: Vec<u8>,
        #[sea_orm(column_type = "Blob")]
        pub ciphertext: Vec<u8>,
        pub expire_time_us: Option<i64>,
        pub create_time_us: i64,
        pub revoke_time_us: Option<i64>,
        pub revision: i64,
        /// Both or neither.
        pub rate_limit_events_per_second: Option<i64>,
        pub rate_limit_burst: Option<i64>,
        pub labels_json: String,
        pub scope_json: Option<String>,
        /// Both or neither.
        #[sea_orm(column_type = "Blob", nullable)]
        pub previous_digest: Option<Vec<u8>>,
        pub previous_expire_time_us: Option<i64>,
        pub rotate_time_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The last use of a key.
pub mod key_use {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "key_uses")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub api_key: String,
        pub use_time_us: i64,
        pub source_address: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One workflow.
pub mod workflow {
    use sea_orm::entity::prelude::*;
    use serde::{Deserialize, Serialize};

    // Kept as JSON when it is deleted: what an earlier version wrote lacks columns that came later.
    #[derive(Clone, Debug, Default, PartialEq, Eq, DeriveEntityModel, Serialize, Deserialize)]
    #[serde(default)]
    #[sea_orm(table_name = "workflows")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub display_name: String,
        pub description: String,
        pub enabled: bool,
        pub latest_version: i64,
        pub published_version: i64,
        pub bound_topic: Option<String>,
        pub create_time_us: i64,
        pub update_time_us: i64,
        pub revision: i64,
        pub labels_json: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A label of a key or a workflow.
pub mod label {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "labels")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub value: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One immutable version.
pub mod workflow_version {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "workflow_versions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub version: i64,
        #[sea_orm(column_type = "Blob")]
        pub source: Vec<u8>,
        pub create_time_us: i64,
        pub creator: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A key that a published version names.
pub mod workflow_key {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "workflow_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub api_key: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A secret that a published version names.
pub mod workflow_secret {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "workflow_secrets")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub secret: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A workflow that a published version runs.
pub mod workflow_call {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "workflow_calls")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub callee: String,
        /// Whether every execution does.
        pub is_certain: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A key or a workflow that was deleted, and can be undeleted.
pub mod deleted_resource {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "deleted_resources")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub kind: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub create_time_us: i64,
        pub delete_time_us: i64,
        /// The row that it was.
        pub row_json: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One secret.
pub mod secret {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "secrets")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(column_type = "Blob")]
        pub ciphertext: Vec<u8>,
        pub create_time_us: i64,
        pub update_time_us: i64,
        pub revision: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One project.
pub mod project {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "projects")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub create_time_us: i64,
        /// How long its history is kept; none: as long as the control plane says.
        pub history_retention_us: Option<i64>,
        pub display_name: String,
        pub labels_json: String,
        pub revision: i64,
        /// It is being deleted since then.
        pub delete_time_us: Option<i64>,
        /// None: as many as the control plane says; 0: without limit.
        pub quota_workflows: Option<i64>,
        pub quota_api_keys: Option<i64>,
        pub quota_events_per_second: Option<i64>,
        pub quota_history_bytes: Option<i64>,
        /// What nodes are told; 0: no limit.
        pub events_per_second: i64,
        pub history_bytes: i64,
        /// When the history was counted as a whole; none: never.
        pub history_count_time_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A counter of the whole database.
pub mod counter {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "counters")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub name: String,
        pub value: i64,
        pub label: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One entry of the change log.
pub mod change {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "changes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub revision: i64,
        pub kind: String,
        pub resource: String,
        pub deleted: bool,
        pub time_us: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One entry of the audit log of earlier versions.
pub mod audit {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit")]
    pub struct Model {
        #[sea_orm(primary_key)]
        pub id: i64,
        pub time_us: i64,
        pub actor: String,
        pub action: String,
        pub resource: String,
        pub request_id: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One entry of the audit log.
pub mod audit_entry {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "audit_entries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub scope: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub sequence: i64,
        pub time_us: i64,
        pub actor: String,
        pub action: String,
        pub resource: String,
        pub request_id: Option<String>,
        pub trace_id: Option<String>,
        pub changes_json: String,
        #[sea_orm(column_type = "Blob")]
        pub hash: Vec<u8>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What an idempotent request made.
pub mod request {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "requests")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub method: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub request_id: String,
        pub resource: String,
        pub create_time_us: i64,
        pub subject: Option<String>,
        pub value_digest: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One execution.
pub mod execution {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "executions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub workflow: String,
        pub version: i64,
        pub state: String,
        pub trigger_kind: String,
        pub message_id: String,
        pub topic_arn: Option<String>,
        pub is_unsigned: bool,
        pub api_key: Option<String>,
        pub node: Option<String>,
        pub create_time_us: i64,
        pub start_time_us: Option<i64>,
        pub end_time_us: Option<i64>,
        pub output_json: Option<String>,
        pub error_code: Option<String>,
        pub error_message: Option<String>,
        pub trace_id: Option<String>,
        pub history: i64,
        pub cancel_time_us: Option<i64>,
        /// Id of the execution that it retries.
        pub retry_of: Option<String>,
        /// Size of the output, when the whole of it is not recorded.
        pub output_truncated_bytes: Option<i64>,
        /// Whether values of its steps are kept whole, in rows of their own.
        pub has_whole_values: bool,
        /// Id of the execution whose step started it.
        pub parent: Option<String>,
        /// The run of that step.
        pub parent_step: Option<String>,
        /// Whether it was ended without its node, which may still have it and is told to end it.
        pub is_left_at_node: bool,
        /// When its end was reported, if that was much later than the end.
        pub late_report_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The event of an execution.
pub mod event {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "events")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub execution: String,
        #[sea_orm(column_type = "Blob")]
        pub body: Vec<u8>,
        pub content_type: Option<String>,
        pub source_address: Option<String>,
        pub receive_time_us: i64,
        pub scope_json: String,
        pub signature_version: Option<i64>,
        pub signing_cert_url: Option<String>,
        pub certificate_sha256: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The run of one step.
pub mod step_run {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "step_runs")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub execution: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub step: String,
        pub position: i64,
        pub kind: String,
        pub state: String,
        pub input_json: String,
        pub output_json: Option<String>,
        pub error_code: Option<String>,
        pub error_message: Option<String>,
        pub start_time_us: i64,
        pub end_time_us: Option<i64>,
        /// Its result is that of the execution that this one retries.
        pub is_kept: bool,
        /// Size of the input, when the whole of it is not in this row.
        pub input_truncated_bytes: Option<i64>,
        /// The same of the output.
        pub output_truncated_bytes: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The whole of an input or output of a step whose row has the beginning only.
pub mod whole_value {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "whole_values")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub execution: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub step: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub part: String,
        pub json: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One attempt of a step.
pub mod attempt {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "attempts")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub execution: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub step: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub number: i64,
        pub start_time_us: i64,
        pub end_time_us: Option<i64>,
        pub error_code: Option<String>,
        pub error_message: Option<String>,
        pub repeated: bool,
        pub retry_time_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A signing certificate.
pub mod certificate {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "certificates")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub sha256: String,
        pub pem: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One inbound message and its verdict.
pub mod delivery {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "deliveries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub verdict: String,
        pub reason: String,
        pub detail: String,
        pub http_status: i64,
        pub message_type: String,
        pub message_id: String,
        pub topic_arn: String,
        pub receive_time_us: i64,
        pub source_address: String,
        pub execution: Option<String>,
        pub node: String,
        pub trace_id: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One topic subscribed to one workflow.
pub mod subscription {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "subscriptions")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub topic_arn: String,
        pub subscription_arn: Option<String>,
        pub state: String,
        pub confirm_attempts: i64,
        pub last_error: Option<String>,
        pub create_time_us: i64,
        pub update_time_us: i64,
        pub node: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// One data plane.
pub mod node {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "nodes")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub version: String,
        pub connected: bool,
        pub applied_revision: i64,
        pub refusals_json: String,
        pub connect_time_us: i64,
        pub last_seen_time_us: i64,
        pub last_report_time_us: Option<i64>,
        pub reported_sequence: i64,
        /// Names its newest stream.
        pub stream: Option<String>,
        /// What verifies its links.
        #[sea_orm(column_type = "Blob", nullable)]
        pub link_public_key: Option<Vec<u8>>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How far a node's records are durable.
pub mod report_cursor {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "report_cursors")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub node: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub incarnation: String,
        pub sequence: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Something that one node is to do.
pub mod command {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "commands")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub project: String,
        pub execution: String,
        pub workflow: String,
        pub version: i64,
        pub input_json: String,
        pub traceparent: Option<String>,
        pub request_time_us: i64,
        pub node: Option<String>,
        pub done: bool,
        /// Id of the execution to retry; what is kept of it is in a row of its own.
        pub retry_of: Option<String>,
        /// Of a schedule's tick.
        pub schedule_time_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What a retry begins with, until its node has it.
pub mod retry {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "retries")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub execution: String,
        pub facts_json: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How far the schedule of a published version has ticked.
pub mod schedule {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "schedules")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub workflow: String,
        /// Whether the workflow is.
        pub enabled: bool,
        /// Ticks up to here have been seen to.
        pub after_us: i64,
        /// The next; none until it is known.
        pub next_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// Something that an execution was told.
pub mod signal {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "signals")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub project: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub execution: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub name: Option<String>,
        pub payload_json: Option<String>,
        pub step: Option<String>,
        pub decision: Option<String>,
        pub comment: Option<String>,
        pub actor: String,
        pub create_time_us: i64,
        pub take_time_us: Option<i64>,
        pub traceparent: Option<String>,
        pub settled: bool,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A key that verifies tokens of our own.
pub mod token_key {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "token_keys")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        #[sea_orm(column_type = "Blob")]
        pub public_key: Vec<u8>,
        pub create_time_us: i64,
        /// None: it signs.
        pub retire_time_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A token of our own that counts no more.
pub mod revoked_token {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "revoked_tokens")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        pub expire_time_us: Option<i64>,
        pub revoke_time_us: i64,
        pub actor: String,
        pub reason: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A token by which one node enrolls, once.
pub mod enrollment_token {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "enrollment_tokens")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: String,
        /// SHA-256 of the secret.
        #[sea_orm(column_type = "Blob")]
        pub digest: Vec<u8>,
        /// The node that it is for; none: any without an identity.
        pub node: Option<String>,
        pub display_name: String,
        pub actor: String,
        pub create_time_us: i64,
        pub expire_time_us: i64,
        pub use_time_us: Option<i64>,
        /// The node that used it.
        pub used_by: Option<String>,
        /// How often it was presented in vain.
        pub refusals: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// What an enrolled node gets its tokens by.
pub mod node_identity {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "node_identities")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub node: String,
        /// Another with each enrollment.
        pub id: String,
        #[sea_orm(column_type = "Blob")]
        pub public_key: Vec<u8>,
        pub display_name: String,
        /// Id of the enrollment token.
        pub enrollment_token: String,
        pub enroll_time_us: i64,
        pub renew_time_us: i64,
        /// Of the last proof that was taken.
        pub proof_time_us: i64,
        pub revoke_time_us: Option<i64>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}
