//! Records of the nodes.

use signalbox_model::{
    event::{Event, EventScope, SignatureProof},
    execution::{Fact, Failure, JsonText},
    ids::StepInstance,
    record::{
        Accepted, Certificate, Delivery, Record, RecordBody, SequencedRecord, SubscriptionChange,
    },
};

use super::{WireError, child, enums, non_empty, parse, parse_optional, signal, time};
use crate::{dataplane::v1 as wire, v1};

/// A record for the wire.
#[must_use]
pub fn to_wire(sequenced: SequencedRecord) -> wire::Record {
    let SequencedRecord { sequence, record } = sequenced;
    let Record {
        time: at,
        traceparent,
        body,
    } = record;
    wire::Record {
        sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
        time: Some(time::to_wire(at)),
        traceparent: traceparent.unwrap_or_default(),
        body: Some(match body {
            RecordBody::Accepted(accepted) => {
                wire::record::Body::Accepted(accepted_to_wire(*accepted))
            }
            RecordBody::Execution { execution, fact } => {
                wire::record::Body::Execution(wire::ExecutionFact {
                    execution: execution.to_string(),
                    fact: Some(fact_to_wire(fact)),
                })
            }
            RecordBody::Delivery(delivery) => {
                wire::record::Body::Delivery(delivery_to_wire(*delivery))
            }
            RecordBody::Subscription(change) => {
                wire::record::Body::Subscription(subscription_to_wire(*change))
            }
            RecordBody::Certificate(Certificate { sha256, pem }) => {
                wire::record::Body::Certificate(wire::CertificateRecord { sha256, pem })
            }
        }),
    }
}

/// An accepted event for the wire.
#[must_use]
pub fn accepted_to_wire(accepted: Accepted) -> wire::Accepted {
    let Accepted {
        execution,
        workflow,
        version,
        event,
        parent,
    } = accepted;
    let Event {
        trigger,
        api_key,
        scope,
        body,
        content_type,
        source_address,
        signature,
        received_at,
    } = event;
    let mut accepted = wire::Accepted {
        execution: execution.to_string(),
        workflow: workflow.to_string(),
        workflow_version: i64::try_from(version).unwrap_or(i64::MAX),
        trigger: enums::trigger_to_wire(trigger).into(),
        message_id: scope.message_id.clone(),
        topic_arn: scope.topic_arn.clone().unwrap_or_default(),
        api_key: api_key.map(|key| key.to_string()).unwrap_or_default(),
        body,
        content_type: content_type.unwrap_or_default(),
        source_address: source_address.unwrap_or_default(),
        scope_json: serde_json::to_string(&scope).unwrap_or_default(),
        signature: signature.map(
            |SignatureProof {
                 version,
                 signing_cert_url,
                 certificate_sha256,
             }| v1::SignatureProof {
                version: i32::from(version),
                signing_cert_url,
                certificate_sha256,
                certificate_pem: String::new(),
            },
        ),
        receive_time: Some(time::to_wire(received_at)),
        ..Default::default()
    };
    if let Some(parent) = parent {
        child::parent_to_wire(*parent, &mut accepted);
    }
    accepted
}

/// A fact for the wire.
#[must_use]
pub fn fact_to_wire(fact: Fact) -> wire::execution_fact::Fact {
    use wire::execution_fact::Fact as Wire;
    let text = |value: Option<JsonText>| value.map(String::from).unwrap_or_default();
    match fact {
        Fact::Started => Wire::Started(wire::ExecutionStarted {}),
        Fact::StepStarted { step, kind, input } => Wire::StepStarted(wire::StepStarted {
            indexes: indexes(&step),
            step_id: step.step.to_string(),
            kind,
            input_json: input.into(),
        }),
        Fact::AttemptStarted {
            step,
            number,
            repeated,
        } => Wire::AttemptStarted(wire::AttemptStarted {
            indexes: indexes(&step),
            step_id: step.step.to_string(),
            number: i32::try_from(number).unwrap_or(i32::MAX),
            repeated,
        }),
        Fact::AttemptFailed {
            step,
            number,
            error,
            retry_at,
        } => Wire::AttemptFailed(wire::AttemptFailed {
            indexes: indexes(&step),
            step_id: step.step.to_string(),
            number: i32::try_from(number).unwrap_or(i32::MAX),
            error: Some(failure_to_wire(error)),
            retry_time: Some(time::to_wire(retry_at)),
        }),
        Fact::StepFinished {
            step,
            state,
            output,
            error,
        } => Wire::StepFinished(wire::StepFinished {
            indexes: indexes(&step),
            step_id: step.step.to_string(),
            state: enums::step_state_to_wire(state).into(),
            output_json: text(output),
            error: error.map(failure_to_wire),
        }),
        Fact::SignalReceived(told) => Wire::SignalReceived(wire::SignalReceived {
            signal: Some(signal::to_wire(*told)),
        }),
        Fact::StepKept {
            step,
            kind,
            input,
            state,
            output,
            error,
        } => Wire::StepKept(wire::StepKept {
            indexes: indexes(&step),
            step_id: step.step.to_string(),
            kind,
            input_json: input.into(),
            state: enums::step_state_to_wire(state).into(),
            output_json: text(output),
            error: error.map(failure_to_wire),
        }),
        Fact::ChildStarted {
            step,
            number,
            child,
            waits,
        } => Wire::ChildStarted(wire::ChildStarted {
            indexes: indexes(&step),
            step_id: step.step.to_string(),
            number: i32::try_from(number).unwrap_or(i32::MAX),
            child: child.to_string(),
            waits,
        }),
        Fact::ChildEnded(end) => Wire::ChildEnded(child::end_to_wire(*end)),
        Fact::Abandoned => Wire::Abandoned(wire::ExecutionAbandoned {}),
        Fact::Cancelling => Wire::Cancelling(wire::ExecutionCancelling {}),
        Fact::Ending {
            state,
            output,
            error,
        } => Wire::Ending(wire::ExecutionEnding {
            state: enums::execution_state_to_wire(state).into(),
            output_json: text(output),
            error: error.map(failure_to_wire),
        }),
        Fact::Finished {
            state,
            output,
            error,
        } => Wire::Finished(wire::ExecutionFinished {
            state: enums::execution_state_to_wire(state).into(),
            output_json: text(output),
            error: error.map(failure_to_wire),
        }),
    }
}

/// A failure for the wire.
#[must_use]
pub fn failure_to_wire(failure: Failure) -> v1::ExecutionError {
    let Failure { code, message } = failure;
    v1::ExecutionError { code, message }
}

fn delivery_to_wire(delivery: Delivery) -> wire::DeliveryRecord {
    let Delivery {
        id,
        workflow,
        verdict,
        reason,
        detail,
        http_status,
        message_type,
        message_id,
        topic_arn,
        source_address,
        execution,
    } = delivery;
    wire::DeliveryRecord {
        delivery_id: id.to_string(),
        workflow: workflow.to_string(),
        verdict: enums::verdict_to_wire(verdict).into(),
        reason,
        detail,
        http_status: i32::from(http_status),
        message_type,
        message_id,
        topic_arn,
        source_address,
        execution: execution.map(|name| name.to_string()).unwrap_or_default(),
    }
}

fn subscription_to_wire(change: SubscriptionChange) -> wire::SubscriptionRecord {
    let SubscriptionChange {
        workflow,
        topic_arn,
        subscription_arn,
        state,
        confirm_attempts,
        last_error,
    } = change;
    wire::SubscriptionRecord {
        workflow: workflow.to_string(),
        topic_arn,
        subscription_arn: subscription_arn.unwrap_or_default(),
        state: enums::subscription_state_to_wire(state).into(),
        confirm_attempts: i32::try_from(confirm_attempts).unwrap_or(i32::MAX),
        last_error: last_error.unwrap_or_default(),
    }
}

/// A record from the wire.
///
/// # Errors
/// When it means nothing.
pub fn from_wire(record: wire::Record) -> Result<SequencedRecord, WireError> {
    let wire::Record {
        sequence,
        time: at,
        traceparent,
        body,
    } = record;
    Ok(SequencedRecord {
        sequence: u64::try_from(sequence).map_err(|e| WireError::invalid("sequence", e))?,
        record: Record {
            time: time::required("time", at)?,
            traceparent: non_empty(storable(traceparent)),
            body: body_from_wire(body.ok_or(WireError::Missing("body"))?)?,
        },
    })
}

fn body_from_wire(body: wire::record::Body) -> Result<RecordBody, WireError> {
    Ok(match body {
        wire::record::Body::Accepted(accepted) => {
            RecordBody::Accepted(Box::new(accepted_from_wire(accepted)?))
        }
        wire::record::Body::Execution(wire::ExecutionFact { execution, fact }) => {
            RecordBody::Execution {
                execution: parse("execution", &execution)?,
                fact: fact_from_wire(fact.ok_or(WireError::Missing("fact"))?)?,
            }
        }
        wire::record::Body::Delivery(delivery) => {
            RecordBody::Delivery(Box::new(delivery_from_wire(delivery)?))
        }
        wire::record::Body::Subscription(change) => {
            RecordBody::Subscription(Box::new(subscription_from_wire(change)?))
        }
        wire::record::Body::Certificate(wire::CertificateRecord { sha256, pem }) => {
            RecordBody::Certificate(Certificate {
                sha256: storable(sha256),
                pem: storable(pem),
            })
        }
    })
}

/// An accepted event from the wire.
///
/// # Errors
/// When it means nothing.
pub fn accepted_from_wire(accepted: wire::Accepted) -> Result<Accepted, WireError> {
    let parent = child::parent_from_wire(&accepted)?;
    let wire::Accepted {
        execution,
        workflow,
        workflow_version,
        trigger,
        message_id: _, // is in the scope
        topic_arn: _,  // is in the scope
        api_key,
        body,
        content_type,
        source_address,
        scope_json,
        signature,
        receive_time,
        parent: _, // is read already, with the next four
        parent_step: _,
        parent_attempt: _,
        parent_waits: _,
        depth: _,
    } = accepted;
    let mut scope: EventScope = serde_json::from_str(&scope_json)
        .map_err(|error| WireError::invalid("scope_json", error))?;
    // Columns of their own.
    scope.message_id = storable(scope.message_id);
    scope.topic_arn = scope.topic_arn.map(storable);
    let signature = signature
        .map(|proof| {
            let v1::SignatureProof {
                version,
                signing_cert_url,
                certificate_sha256,
                certificate_pem: _, // comes once, in a CertificateRecord
            } = proof;
            Ok(SignatureProof {
                version: u8::try_from(version)
                    .map_err(|error| WireError::invalid("signature.version", error))?,
                signing_cert_url: storable(signing_cert_url),
                certificate_sha256: storable(certificate_sha256),
            })
        })
        .transpose()?;
    Ok(Accepted {
        execution: parse("execution", &execution)?,
        workflow: parse("workflow", &workflow)?,
        version: u64::try_from(workflow_version)
            .map_err(|error| WireError::invalid("workflow_version", error))?,
        event: Event {
            trigger: enums::trigger(trigger)?,
            api_key: parse_optional("api_key", &api_key)?,
            scope,
            body,
            content_type: non_empty(storable(content_type)),
            source_address: non_empty(storable(source_address)),
            signature,
            received_at: time::required("receive_time", receive_time)?,
        },
        parent: parent.map(Box::new),
    })
}

/// A fact from the wire.
///
/// # Errors
/// When it means nothing.
pub fn fact_from_wire(fact: wire::execution_fact::Fact) -> Result<Fact, WireError> {
    use wire::execution_fact::Fact as Wire;
    Ok(match fact {
        Wire::Started(wire::ExecutionStarted {}) => Fact::Started,
        Wire::StepStarted(wire::StepStarted {
            step_id,
            indexes,
            kind,
            input_json,
        }) => Fact::StepStarted {
            step: step_instance(&step_id, &indexes)?,
            kind: storable(kind),
            input: json_text("input_json", input_json)?,
        },
        Wire::AttemptStarted(wire::AttemptStarted {
            step_id,
            indexes,
            number,
            repeated,
        }) => Fact::AttemptStarted {
            step: step_instance(&step_id, &indexes)?,
            number: attempt_number(number)?,
            repeated,
        },
        Wire::AttemptFailed(wire::AttemptFailed {
            step_id,
            indexes,
            number,
            error,
            retry_time,
        }) => Fact::AttemptFailed {
            step: step_instance(&step_id, &indexes)?,
            number: attempt_number(number)?,
            error: failure(error.ok_or(WireError::Missing("error"))?),
            retry_at: time::required("retry_time", retry_time)?,
        },
        Wire::StepFinished(wire::StepFinished {
            step_id,
            indexes,
            state,
            output_json,
            error,
        }) => Fact::StepFinished {
            step: step_instance(&step_id, &indexes)?,
            state: enums::step_state(state)?,
            output: optional_json_text("output_json", output_json)?,
            error: error.map(failure),
        },
        Wire::SignalReceived(wire::SignalReceived { signal: told }) => {
            let told = told.ok_or(WireError::Missing("signal"))?;
            Fact::SignalReceived(Box::new(signal::from_wire(told)?))
        }
        Wire::StepKept(wire::StepKept {
            step_id,
            indexes,
            kind,
            input_json,
            state,
            output_json,
            error,
        }) => Fact::StepKept {
            step: step_instance(&step_id, &indexes)?,
            kind: storable(kind),
            input: json_text("input_json", input_json)?,
            state: enums::step_state(state)?,
            output: optional_json_text("output_json", output_json)?,
            error: error.map(failure),
        },
        Wire::ChildStarted(wire::ChildStarted {
            step_id,
            indexes,
            number,
            child,
            waits,
        }) => Fact::ChildStarted {
            step: step_instance(&step_id, &indexes)?,
            number: attempt_number(number)?,
            child: parse("child", &child)?,
            waits,
        },
        Wire::ChildEnded(end) => Fact::ChildEnded(Box::new(child::end_from_wire(end)?)),
        Wire::Abandoned(wire::ExecutionAbandoned {}) => Fact::Abandoned,
        Wire::Cancelling(wire::ExecutionCancelling {}) => Fact::Cancelling,
        Wire::Ending(wire::ExecutionEnding {
            state,
            output_json,
            error,
        }) => Fact::Ending {
            state: enums::execution_state(state)?,
            output: optional_json_text("output_json", output_json)?,
            error: error.map(failure),
        },
        Wire::Finished(wire::ExecutionFinished {
            state,
            output_json,
            error,
        }) => Fact::Finished {
            state: enums::execution_state(state)?,
            output: optional_json_text("output_json", output_json)?,
            error: error.map(failure),
        },
    })
}

/// The iterations that a step's run stands in, on the wire.
#[must_use]
pub fn indexes(step: &StepInstance) -> Vec<i32> {
    let indexes = step.indexes.iter();
    indexes
        .map(|index| i32::try_from(*index).unwrap_or(i32::MAX))
        .collect()
}

pub(super) fn step_instance(step_id: &str, indexes: &[i32]) -> Result<StepInstance, WireError> {
    let indexes = indexes.iter().map(|index| u32::try_from(*index));
    Ok(StepInstance {
        step: parse("step_id", step_id)?,
        indexes: indexes
            .collect::<Result<_, _>>()
            .map_err(|error| WireError::invalid("indexes", error))?,
    })
}

pub(super) fn attempt_number(number: i32) -> Result<u32, WireError> {
    u32::try_from(number).map_err(|error| WireError::invalid("number", error))
}

pub(super) fn failure(error: v1::ExecutionError) -> Failure {
    let v1::ExecutionError { code, message } = error;
    Failure {
        code: storable(code),
        message: storable(message),
    }
}

/// Text as every database keeps it: PostgreSQL's has no U+0000
/// (<https://www.postgresql.org/docs/current/datatype-character.html>), and whoever sends an event, or answers a request, may.
pub(super) fn storable(text: String) -> String {
    match text.contains('\0') {
        true => text.replace('\0', "\u{fffd}"),
        false => text,
    }
}

fn json_text(field: &'static str, text: String) -> Result<JsonText, WireError> {
    JsonText::try_from(text).map_err(|error| WireError::invalid(field, error))
}

pub(super) fn optional_json_text(
    field: &'static str,
    text: String,
) -> Result<Option<JsonText>, WireError> {
    non_empty(text)
        .map(|text| json_text(field, text))
        .transpose()
}

fn delivery_from_wire(delivery: wire::DeliveryRecord) -> Result<Delivery, WireError> {
    let wire::DeliveryRecord {
        delivery_id,
        workflow,
        verdict,
        reason,
        detail,
        http_status,
        message_type,
        message_id,
        topic_arn,
        source_address,
        execution,
    } = delivery;
    Ok(Delivery {
        id: parse("delivery_id", &delivery_id)?,
        workflow: parse("workflow", &workflow)?,
        verdict: enums::verdict(verdict)?,
        reason: storable(reason),
        detail: storable(detail),
        http_status: u16::try_from(http_status)
            .map_err(|error| WireError::invalid("http_status", error))?,
        message_type: storable(message_type),
        message_id: storable(message_id),
        topic_arn: storable(topic_arn),
        source_address: storable(source_address),
        execution: parse_optional("execution", &execution)?,
    })
}

fn subscription_from_wire(
    change: wire::SubscriptionRecord,
) -> Result<SubscriptionChange, WireError> {
    let wire::SubscriptionRecord {
        workflow,
        topic_arn,
        subscription_arn,
        state,
        confirm_attempts,
        last_error,
    } = change;
    Ok(SubscriptionChange {
        workflow: parse("workflow", &workflow)?,
        topic_arn: storable(topic_arn),
        subscription_arn: non_empty(storable(subscription_arn)),
        state: enums::subscription_state(state)?,
        confirm_attempts: u32::try_from(confirm_attempts)
            .map_err(|error| WireError::invalid("confirm_attempts", error))?,
        last_error: non_empty(storable(last_error)),
    })
}
