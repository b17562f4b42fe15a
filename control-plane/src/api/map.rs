//! Rows → messages.

use std::collections::BTreeSet;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use prost_types::Timestamp as WireTime;
use signalbox_model::{error::Error, ids::StepInstance};
use signalbox_proto::{
    convert::{rate_limit, record, time},
    v1,
};

use super::signals;
use crate::{
    app::{Deletion, Found, Refusal, ShownProject, etag},
    store::{
        Awaited, Child, EnrollmentTokenRow, ExecutionDetail, NodeIdentityRow, RevokedTokenRow,
        TokenKeyRow,
        rows::{
            ApiKey, Attempt, Delivery, Event, Execution, KeyUse, Node, Project, Secret, StepRun,
            Subscription, Workflow, WorkflowVersion,
        },
    },
};

fn at(us: i64) -> Option<WireTime> {
    Timestamp::from_microsecond(us).ok().map(time::to_wire)
}

fn maybe_at(us: Option<i64>) -> Option<WireTime> {
    us.and_then(at)
}

fn delete_time(deletion: Option<Deletion>) -> Option<WireTime> {
    deletion.and_then(|deletion| at(deletion.delete_time_us))
}

fn purge_time(deletion: Option<Deletion>) -> Option<WireTime> {
    deletion.and_then(|deletion| at(deletion.purge_time_us))
}

/// One that may be deleted.
pub(super) fn found_workflow(
    found: Found<Workflow>,
    source: Option<&[u8]>,
) -> Result<v1::Workflow, Error> {
    let Found { row, deletion } = found;
    let mut of = workflow(row, source)?;
    if deletion.is_some() {
        of.set_state(v1::WorkflowState::Deleted);
    }
    Ok(v1::Workflow {
        delete_time: delete_time(deletion),
        purge_time: purge_time(deletion),
        ..of
    })
}

/// One that may be deleted, and its last use.
///
/// # Errors
/// When its scope is stored damaged.
pub(super) fn api_key(found: Found<ApiKey>, last: Option<&KeyUse>) -> Result<v1::ApiKey, Error> {
    let Found { row, deletion } = found;
    let expired = row
        .expire_time_us
        .is_some_and(|at| at <= Timestamp::now().as_microsecond());
    let state = if deletion.is_some() {
        v1::ApiKeyState::Deleted
    } else if row.revoke_time_us.is_some() {
        v1::ApiKeyState::Revoked
    } else if expired {
        v1::ApiKeyState::Expired
    } else {
        v1::ApiKeyState::Active
    };
    let rate_limit = row.rate_limit();
    let labels = row.labels();
    let previous_expire_time = row
        .previous_expires_at(Timestamp::now().as_microsecond())
        .map(time::to_wire);
    let (workflows, source_networks) = row.scope()?.to_texts();
    let workflows = workflows.iter();
    let workflows = workflows.map(|id| format!("projects/{}/workflows/{id}", row.project));
    Ok(v1::ApiKey {
        workflows: workflows.collect(),
        source_networks,
        name: format!("projects/{}/apiKeys/{}", row.project, row.id),
        display_name: row.display_name,
        prefix: row.prefix,
        state: state.into(),
        expire_time: maybe_at(row.expire_time_us),
        create_time: at(row.create_time_us),
        revoke_time: maybe_at(row.revoke_time_us),
        etag: etag(row.revision),
        rate_limit: rate_limit.as_ref().map(rate_limit::to_wire),
        delete_time: delete_time(deletion),
        purge_time: purge_time(deletion),
        labels,
        rotate_time: maybe_at(row.rotate_time_us),
        previous_expire_time,
        last_used_time: last.and_then(|last| at(last.use_time_us)),
        last_used_address: last
            .map(|last| last.source_address.clone())
            .unwrap_or_default(),
    })
}

pub(super) fn revoked_token(row: RevokedTokenRow) -> v1::RevokedToken {
    v1::RevokedToken {
        token_id: row.id,
        expire_time: maybe_at(row.expire_time_us),
        revoke_time: at(row.revoke_time_us),
        revoked_by: row.actor,
        reason: row.reason,
    }
}

pub(super) fn signing_key(row: TokenKeyRow) -> v1::SigningKey {
    v1::SigningKey {
        key_id: row.id,
        create_time: at(row.create_time_us),
        retire_time: maybe_at(row.retire_time_us),
    }
}

pub(super) fn spec(source: &[u8]) -> Result<v1::WorkflowSpec, Error> {
    prost::Message::decode(source).map_err(|error| {
        tracing::error!(%error, "a stored definition does not decode");
        Error::Internal {
            message: "a stored definition does not decode".to_owned(),
        }
    })
}

pub(super) fn workflow(row: Workflow, source: Option<&[u8]>) -> Result<v1::Workflow, Error> {
    let state = if row.enabled {
        v1::WorkflowState::Enabled
    } else {
        v1::WorkflowState::Disabled
    };
    Ok(v1::Workflow {
        labels: row.labels(),
        name: format!("projects/{}/workflows/{}", row.project, row.id),
        display_name: row.display_name,
        description: row.description,
        spec: source.map(spec).transpose()?,
        state: state.into(),
        latest_version: row.latest_version,
        published_version: row.published_version,
        bound_topic_arn: row.bound_topic.unwrap_or_default(),
        create_time: at(row.create_time_us),
        update_time: at(row.update_time_us),
        etag: etag(row.revision),
        delete_time: None,
        purge_time: None,
    })
}

pub(super) fn workflow_version(row: WorkflowVersion) -> Result<v1::WorkflowVersion, Error> {
    Ok(v1::WorkflowVersion {
        name: format!(
            "projects/{}/workflows/{}/versions/{}",
            row.project, row.workflow, row.version
        ),
        version: row.version,
        spec: Some(spec(&row.source)?),
        create_time: at(row.create_time_us),
        creator: row.creator,
    })
}

fn execution_state(text: &str) -> v1::ExecutionState {
    v1::ExecutionState::from_str_name(&format!("EXECUTION_STATE_{text}")).unwrap_or_default()
}

fn trigger(text: &str) -> v1::TriggerKind {
    v1::TriggerKind::from_str_name(&format!("TRIGGER_KIND_{text}")).unwrap_or_default()
}

fn error(code: Option<String>, message: Option<String>) -> Option<v1::ExecutionError> {
    code.map(|code| v1::ExecutionError {
        code,
        message: message.unwrap_or_default(),
    })
}

pub(super) fn execution(row: Execution, waits_for: Vec<Awaited>) -> v1::Execution {
    let project = row.project;
    v1::Execution {
        name: format!("projects/{project}/executions/{}", row.id),
        workflow: format!("projects/{project}/workflows/{}", row.workflow),
        workflow_version: row.version,
        state: execution_state(&row.state).into(),
        trigger: trigger(&row.trigger_kind).into(),
        message_id: row.message_id,
        topic_arn: row.topic_arn.unwrap_or_default(),
        unsigned: row.is_unsigned,
        api_key: row
            .api_key
            .map(|key| format!("projects/{project}/apiKeys/{key}"))
            .unwrap_or_default(),
        node: row
            .node
            .map(|node| format!("nodes/{node}"))
            .unwrap_or_default(),
        create_time: at(row.create_time_us),
        start_time: maybe_at(row.start_time_us),
        end_time: maybe_at(row.end_time_us),
        output_json: row.output_json.unwrap_or_default(),
        output_truncated_bytes: row.output_truncated_bytes.unwrap_or_default(),
        error: error(row.error_code, row.error_message),
        steps: Vec::new(),
        trace_id: row.trace_id.unwrap_or_default(),
        cancel_time: maybe_at(row.cancel_time_us),
        awaited: waits_for.into_iter().map(signals::awaited).collect(),
        signals: Vec::new(),
        retry_of: row
            .retry_of
            .map(|id| format!("projects/{project}/executions/{id}"))
            .unwrap_or_default(),
        retried_by: Vec::new(),
        parent: row
            .parent
            .map(|id| format!("projects/{project}/executions/{id}"))
            .unwrap_or_default(),
        parent_step: row.parent_step.unwrap_or_default(),
        children: Vec::new(),
        watch_token: String::new(),
    }
}

pub(super) fn execution_detail(detail: ExecutionDetail) -> v1::Execution {
    let ExecutionDetail {
        execution: row,
        steps,
        signals: told,
        retried_by,
        children,
    } = detail;
    let project = row.project.clone();
    let runs = steps.iter().map(|(run, _)| run);
    let waits_for = match row.end_time_us {
        None => runs.filter_map(Awaited::of).collect(),
        Some(_) => Vec::new(),
    };
    let told = told.into_iter();
    v1::Execution {
        signals: told.map(|row| signals::shown(row, true)).collect(),
        steps: steps
            .into_iter()
            .map(|(row, attempts)| step_run(row, attempts))
            .collect(),
        retried_by: retried_by
            .into_iter()
            .map(|id| format!("projects/{project}/executions/{id}"))
            .collect(),
        children: children
            .into_iter()
            .map(|row| child(&project, row))
            .collect(),
        ..execution(row, waits_for)
    }
}

fn child(project: &str, row: Child) -> v1::ChildExecution {
    let Child {
        id,
        workflow,
        step,
        state,
    } = row;
    v1::ChildExecution {
        name: format!("projects/{project}/executions/{id}"),
        workflow: format!("projects/{project}/workflows/{workflow}"),
        step,
        state: execution_state(&state).into(),
    }
}

fn step_run(row: StepRun, attempts: Vec<Attempt>) -> v1::StepRun {
    // What was written was one; anything else is shown as it is.
    let (step_id, indexes) = match row.step.parse::<StepInstance>() {
        Ok(run) => (run.step.to_string(), record::indexes(&run)),
        Err(_) => (row.step, Vec::new()),
    };
    v1::StepRun {
        step_id,
        indexes,
        kind: row.kind,
        state: v1::StepState::from_str_name(&format!("STEP_STATE_{}", row.state))
            .unwrap_or_default()
            .into(),
        input_json: row.input_json,
        output_json: row.output_json.unwrap_or_default(),
        error: error(row.error_code, row.error_message),
        attempts: attempts.into_iter().map(attempt).collect(),
        start_time: at(row.start_time_us),
        end_time: maybe_at(row.end_time_us),
        kept: row.is_kept,
        input_truncated_bytes: row.input_truncated_bytes.unwrap_or_default(),
        output_truncated_bytes: row.output_truncated_bytes.unwrap_or_default(),
    }
}

fn attempt(row: Attempt) -> v1::Attempt {
    v1::Attempt {
        number: i32::try_from(row.number).unwrap_or(i32::MAX),
        start_time: at(row.start_time_us),
        end_time: maybe_at(row.end_time_us),
        error: error(row.error_code, row.error_message),
        repeated: row.repeated,
        retry_time: maybe_at(row.retry_time_us),
    }
}

pub(super) fn event(execution: &Execution, row: Event, certificate: Option<String>) -> v1::Event {
    let project = &execution.project;
    let signature = row.signature_version.map(|version| v1::SignatureProof {
        version: i32::try_from(version).unwrap_or_default(),
        signing_cert_url: row.signing_cert_url.unwrap_or_default(),
        certificate_sha256: row.certificate_sha256.unwrap_or_default(),
        certificate_pem: certificate.unwrap_or_default(),
    });
    v1::Event {
        name: format!("projects/{project}/executions/{}/event", execution.id),
        trigger: trigger(&execution.trigger_kind).into(),
        message_id: execution.message_id.clone(),
        topic_arn: execution.topic_arn.clone().unwrap_or_default(),
        body: row.body.into(),
        content_type: row.content_type.unwrap_or_default(),
        source_address: row.source_address.unwrap_or_default(),
        receive_time: at(row.receive_time_us),
        api_key: execution
            .api_key
            .as_ref()
            .map(|key| format!("projects/{project}/apiKeys/{key}"))
            .unwrap_or_default(),
        signature,
        scope_json: row.scope_json,
    }
}

pub(super) fn delivery(row: Delivery) -> v1::Delivery {
    let project = row.project;
    v1::Delivery {
        name: format!(
            "projects/{project}/workflows/{}/deliveries/{}",
            row.workflow, row.id
        ),
        verdict: v1::DeliveryVerdict::from_str_name(&format!("DELIVERY_VERDICT_{}", row.verdict))
            .unwrap_or_default()
            .into(),
        reason: row.reason,
        detail: row.detail,
        http_status: i32::try_from(row.http_status).unwrap_or_default(),
        message_type: row.message_type,
        message_id: row.message_id,
        topic_arn: row.topic_arn,
        receive_time: at(row.receive_time_us),
        source_address: row.source_address,
        execution: row
            .execution
            .map(|id| format!("projects/{project}/executions/{id}"))
            .unwrap_or_default(),
        node: format!("nodes/{}", row.node),
        trace_id: row.trace_id.unwrap_or_default(),
    }
}

pub(super) fn subscription(row: Subscription) -> v1::Subscription {
    v1::Subscription {
        name: format!(
            "projects/{}/workflows/{}/subscriptions/{}",
            row.project, row.workflow, row.id
        ),
        topic_arn: row.topic_arn,
        subscription_arn: row.subscription_arn.unwrap_or_default(),
        state: v1::SubscriptionState::from_str_name(&format!("SUBSCRIPTION_STATE_{}", row.state))
            .unwrap_or_default()
            .into(),
        confirm_attempts: i32::try_from(row.confirm_attempts).unwrap_or(i32::MAX),
        last_error: row.last_error.unwrap_or_default(),
        create_time: at(row.create_time_us),
        update_time: at(row.update_time_us),
        node: format!("nodes/{}", row.node),
    }
}

pub(super) fn secret(row: Secret) -> v1::Secret {
    v1::Secret {
        name: format!("projects/{}/secrets/{}", row.project, row.id),
        value: Default::default(),
        create_time: at(row.create_time_us),
        update_time: at(row.update_time_us),
        etag: etag(row.revision),
    }
}

pub(super) fn project(shown: ShownProject) -> v1::Project {
    let ShownProject {
        row,
        history_retention,
        quotas,
        contents,
    } = shown;
    let own = row.history_retention_us.is_some();
    let state = match row.is_deleted() {
        false => v1::ProjectState::Active,
        true => v1::ProjectState::Deleting,
    };
    let usage = contents.map(|contents| v1::ProjectUsage {
        workflows: i64::try_from(contents.workflows).unwrap_or(i64::MAX),
        api_keys: i64::try_from(contents.api_keys).unwrap_or(i64::MAX),
        history_bytes: row.history_count_time_us.map(|_| row.history_bytes.max(0)),
    });
    v1::Project {
        name: row.name(),
        history_retention: own.then(|| time::duration_to_wire(history_retention)),
        effective_history_retention: Some(time::duration_to_wire(history_retention)),
        create_time: at(row.create_time_us),
        labels: row.labels(),
        quotas: own_quotas(&row),
        effective_quotas: Some(v1::ProjectQuotas {
            workflows: Some(quotas.workflows),
            api_keys: Some(quotas.api_keys),
            events_per_second: Some(quotas.events_per_second),
            history_bytes: Some(quotas.history_bytes),
        }),
        usage,
        state: state.into(),
        delete_time: maybe_at(row.delete_time_us),
        etag: etag(row.revision),
        display_name: row.display_name,
    }
}

/// None, when it says nothing.
fn own_quotas(row: &Project) -> Option<v1::ProjectQuotas> {
    let own = row.quotas();
    let quotas = v1::ProjectQuotas {
        workflows: own.workflows,
        api_keys: own.api_keys,
        events_per_second: own.events_per_second,
        history_bytes: own.history_bytes,
    };
    Some(quotas).filter(|quotas| *quotas != v1::ProjectQuotas::default())
}

/// A node, with what it refused of the projects with these ids; none: of all.
pub(super) fn node(
    row: Node,
    identity: Option<NodeIdentityRow>,
    head: i64,
    projects: Option<&BTreeSet<String>>,
) -> v1::Node {
    let is_shown = |refusal: &Refusal| {
        let project = refusal.resource.strip_prefix("projects/");
        let project = project.and_then(|rest| rest.split('/').next());
        projects.is_none_or(|projects| project.is_some_and(|id| projects.contains(id)))
    };
    let refusals: Vec<Refusal> = serde_json::from_str(&row.refusals_json).unwrap_or_default();
    let state = if row.connected {
        v1::NodeState::Connected
    } else {
        v1::NodeState::Disconnected
    };
    v1::Node {
        name: format!("nodes/{}", row.id),
        state: state.into(),
        version: row.version,
        applied_revision: row.applied_revision,
        head_revision: head,
        refusals: refusals
            .into_iter()
            .filter(is_shown)
            .map(|refusal| v1::Refusal {
                resource: refusal.resource,
                revision: refusal.revision,
                reason: refusal.reason,
            })
            .collect(),
        connect_time: at(row.connect_time_us),
        last_seen_time: at(row.last_seen_time_us),
        last_report_time: maybe_at(row.last_report_time_us),
        reported_sequence: row.reported_sequence,
        identity: identity.map(node_identity),
    }
}

fn node_identity(row: NodeIdentityRow) -> v1::NodeIdentity {
    let digest = digest::digest(&digest::SHA256, &row.public_key);
    v1::NodeIdentity {
        display_name: row.display_name,
        enroll_time: at(row.enroll_time_us),
        renew_time: at(row.renew_time_us),
        revoke_time: maybe_at(row.revoke_time_us),
        enrollment_token: format!("enrollmentTokens/{}", row.enrollment_token),
        public_key_sha256: HEXLOWER.encode(digest.as_ref()),
    }
}

pub(super) fn enrollment_token(row: EnrollmentTokenRow) -> v1::EnrollmentToken {
    let name_of = |node: Option<String>| node.map(|node| format!("nodes/{node}"));
    v1::EnrollmentToken {
        name: format!("enrollmentTokens/{}", row.id),
        node: name_of(row.node).unwrap_or_default(),
        display_name: row.display_name,
        create_time: at(row.create_time_us),
        expire_time: at(row.expire_time_us),
        created_by: row.actor,
        use_time: maybe_at(row.use_time_us),
        used_by: name_of(row.used_by).unwrap_or_default(),
    }
}
