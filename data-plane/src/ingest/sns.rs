//! `…/sns`: Amazon SNS's three kinds of messages, and raw delivery.

mod headers;

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use jiff::Timestamp;
use signalbox_model::{
    event::{Event, EventScope, SignatureProof, TriggerKind},
    ids::{ExecutionId, ExecutionName},
    record::{
        Accepted, Certificate, Record, RecordBody, SubscriptionChange, SubscriptionState, Verdict,
    },
    workflow::{AmazonSnsTrigger, Trigger},
};
use signalbox_sns::{
    Envelope, Headers, MessageAttributes, MessageType, RawNotification, Refusal, RefusalKind,
    SignaturePolicy, SignatureVersion, SigningCertUrl, SigningCertificate, TopicArn, Verified,
    verify,
};

use super::{
    Answer, Authorized, Ingest, Problem, Seen, answered, delivery, filter, later, spool_problem,
};
use crate::spool::{Accept, Definition, Handshake, ScopeSource};

use headers::{content_type, content_type_text};
pub(super) use headers::{note_headers, sns_headers};

type Refused<T> = Result<T, Problem>;

/// The trace context that a publisher put among the attributes.
pub(super) fn traceparent(body: &[u8]) -> Option<String> {
    // Few messages have one: the others need not be parsed twice.
    memchr::memmem::find(body, b"\"traceparent\"")?;
    let envelope = Envelope::parse(body).ok()?;
    let attribute = envelope.unsigned_attributes().get("traceparent")?;
    Some(attribute.value.clone())
}

pub(super) async fn handle(
    ingest: &Ingest,
    authorized: &Authorized,
    body: &Bytes,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Refused<Answer> {
    let Trigger::AmazonSns(trigger) = &authorized.published.front.trigger else {
        return Err(Problem::not_found(
            "trigger-other",
            "the workflow's trigger is of another kind",
        ));
    };
    content_type(&authorized.head.headers)?;
    let headers = sns_headers(&authorized.head.headers);
    if headers.raw_delivery {
        note_headers(seen, &headers);
        let handled = raw(
            ingest,
            authorized,
            trigger,
            &headers,
            body,
            seen,
            traceparent,
        );
        return Box::pin(handled).await;
    }
    let envelope = Envelope::parse(body).map_err(|error| refusal(&error))?;
    seen.message_type = envelope.message_type().to_string();
    envelope.message_id().clone_into(&mut seen.message_id);
    envelope
        .topic_arn()
        .as_str()
        .clone_into(&mut seen.topic_arn);
    note_message(envelope.topic_arn(), envelope.message_id());
    envelope
        .check_headers(&headers)
        .map_err(|error| refusal(&error))?;
    topic_allowed(
        authorized,
        trigger,
        envelope.topic_arn(),
        envelope.message_type(),
    )?;

    let now = authorized.head.received_at;
    let (certificate, kept) = certificate(ingest, &envelope, now).await?;
    let policy = SignaturePolicy {
        minimum_version: if trigger.minimum_signature_version >= 2 {
            SignatureVersion::V2
        } else {
            SignatureVersion::V1
        },
    };
    let verified =
        verify(&envelope, &certificate, now, &policy).map_err(|error| refusal(&error))?;
    check_age(ingest, trigger, &verified, now)?;
    match verified.message_type() {
        MessageType::Notification => {
            if !filter::wants(trigger, envelope.message(), envelope.unsigned_attributes()) {
                return Ok(filter::left_out(ingest, authorized, seen, traceparent));
            }
            let proof = SignatureProof {
                version: match verified.signature_version() {
                    SignatureVersion::V1 => 1,
                    SignatureVersion::V2 => 2,
                },
                signing_cert_url: envelope.signing_cert_url().to_owned(),
                certificate_sha256: kept.sha256.clone(),
            };
            let deduplicate_from = now.max(verified.timestamp());
            let message = Message {
                topic: verified.topic_arn().as_str().to_owned(),
                message_id: verified.message_id().to_owned(),
                scope: None,
                body: Bytes::from(envelope.redacted_body().into_owned()),
                signature: Some((proof, kept)),
                digest: verified.signed_sha256(),
                deduplicate_from,
            };
            accept(ingest, authorized, message, seen, traceparent).await
        }
        MessageType::SubscriptionConfirmation => {
            Box::pin(confirmation(
                ingest,
                authorized,
                &verified,
                seen,
                traceparent,
            ))
            .await
        }
        MessageType::UnsubscribeConfirmation => {
            Box::pin(unsubscribed(
                ingest,
                authorized,
                &verified,
                seen,
                traceparent,
            ))
            .await
        }
    }
}

/// The certificate that a message names, if it may.
async fn certificate(
    ingest: &Ingest,
    envelope: &Envelope<'_>,
    now: Timestamp,
) -> Refused<(SigningCertificate, Arc<Certificate>)> {
    let (url, topic) = (envelope.signing_cert_url(), envelope.topic_arn());
    if let Some(latest) = ingest.certificates.latest(url, topic.region()) {
        return Ok(latest);
    }
    let location =
        SigningCertUrl::parse(url, topic, &ingest.trust).map_err(|error| refusal(&error))?;
    let of_message = (url, topic.region());
    // Apart: it is rarely needed, and would make every request's future larger.
    Box::pin(ingest.certificates.get(&location, of_message, now)).await
}

/// OpenTelemetry's messaging conventions, on the span of the request.
fn note_message(topic: &TopicArn, message_id: &str) {
    let span = tracing::Span::current();
    span.record("messaging.destination.name", topic.name());
    span.record("messaging.message.id", message_id);
}

fn refusal(error: &dyn Refusal) -> Problem {
    match error.kind() {
        RefusalKind::Malformed => Problem::malformed(error.reason(), error.to_string()),
        RefusalKind::Forbidden => Problem::forbidden(error.reason(), error.to_string()),
    }
}

/// Any AWS account gets valid signatures: the trigger says which topics count, or the first confirmed one binds.
fn topic_allowed(
    authorized: &Authorized,
    trigger: &AmazonSnsTrigger,
    topic: &TopicArn,
    message_type: MessageType,
) -> Refused<()> {
    let (fifo, topic) = (topic.is_fifo(), topic.as_str());
    let not_allowed = || {
        Problem::forbidden(
            "topic-not-allowed",
            "the workflow does not take messages of this topic",
        )
    };
    if !trigger.topic_arns.is_empty() {
        let listed = trigger
            .topic_arns
            .iter()
            .any(|allowed| allowed.as_str() == topic);
        return if listed { Ok(()) } else { Err(not_allowed()) };
    }
    match (&authorized.workflow.bound_topic, message_type) {
        (Some(bound), _) if bound == topic => Ok(()),
        (Some(_), _) => Err(not_allowed()),
        // FIFO topics cannot deliver to HTTP endpoints: such a confirmation is nobody's.
        (None, MessageType::SubscriptionConfirmation) if fifo => Err(not_allowed()),
        (None, MessageType::SubscriptionConfirmation) => Ok(()),
        (None, MessageType::Notification | MessageType::UnsubscribeConfirmation) => {
            Err(Problem::unavailable(
                "topic-not-bound",
                "no topic is bound to the workflow yet: its first subscription is being confirmed, or there is none",
            ))
        }
    }
}

/// Redrive and replay are legitimate, but beyond the window a copy could not be told apart any more. The trigger's limit is
/// for what it runs: a late confirmation is still one.
fn check_age(
    ingest: &Ingest,
    trigger: &AmazonSnsTrigger,
    verified: &Verified<'_>,
    now: Timestamp,
) -> Refused<()> {
    let window = ingest.deduplication_window;
    let timestamp = verified.timestamp();
    let limit = match (verified.message_type(), trigger.max_message_age) {
        (MessageType::Notification, Some(age)) => age.min(window),
        _ => window,
    };
    if later(timestamp, limit) < now {
        return Err(Problem::forbidden(
            "message-too-old",
            format!(
                "the message was published at {timestamp}, more than {} seconds ago",
                limit.as_secs()
            ),
        ));
    }
    Ok(())
}

/// A message that may be accepted.
struct Message {
    topic: String,
    message_id: String,
    /// None: it stands in the body.
    scope: Option<EventScope>,
    body: Bytes,
    signature: Option<(SignatureProof, Arc<Certificate>)>,
    digest: [u8; 32],
    deduplicate_from: Timestamp,
}

async fn accept(
    ingest: &Ingest,
    authorized: &Authorized,
    message: Message,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Refused<Answer> {
    let Message {
        topic,
        message_id,
        scope,
        body,
        signature,
        digest,
        deduplicate_from,
    } = message;
    let head = &authorized.head;
    let execution = ExecutionName {
        project: head.workflow.project.clone(),
        execution: ExecutionId::derive(&head.workflow, &topic, &message_id, None),
    };
    let source = match scope {
        Some(_) => ScopeSource::Event,
        None => ScopeSource::Envelope,
    };
    let (signature, certificate) = signature.unzip();
    let acceptance = ingest
        .spool
        .accept(Accept {
            accepted: Accepted {
                execution: execution.clone(),
                workflow: head.workflow.clone(),
                version: authorized.published.number,
                event: Event {
                    trigger: TriggerKind::AmazonSns,
                    api_key: Some(authorized.key.clone()),
                    scope: scope.unwrap_or_else(EventScope::unread),
                    body,
                    content_type: content_type_text(&head.headers),
                    source_address: Some(head.source.to_string()),
                    signature,
                    received_at: head.received_at,
                },
                parent: None,
            },
            scope: source,
            content_digest: digest,
            certificate,
            definition: Definition {
                source: authorized.published.source.clone(),
                digest: authorized.published.source_digest,
            },
            message_type: Some(seen.message_type.clone()),
            traceparent,
            deduplicate_until: later(deduplicate_from, ingest.deduplication_window),
        })
        .await
        .map_err(|error| spool_problem(&error))?;
    answered(acceptance, execution)
}

/// The scope of a message that was accepted, from its body.
///
/// # Errors
/// When the body is no envelope; then it was not accepted as one.
pub fn read_scope(body: &[u8]) -> Result<EventScope, String> {
    let envelope = Envelope::parse_kept(body).map_err(|error| error.to_string())?;
    let attributes = envelope.unsigned_attributes().iter();
    Ok(EventScope {
        attributes: attributes
            .map(|(name, attribute)| (name.to_owned(), attribute.to_json()))
            .collect(),
        subject: envelope.subject().map(str::to_owned),
        topic_arn: Some(envelope.topic_arn().as_str().to_owned()),
        message_id: envelope.message_id().to_owned(),
        timestamp: envelope.timestamp().to_string(),
        message: envelope.message().to_owned(),
    })
}

/// A bare message. It carries no signature, so that only a workflow that says so takes it.
async fn raw(
    ingest: &Ingest,
    authorized: &Authorized,
    trigger: &AmazonSnsTrigger,
    headers: &Headers<'_>,
    body: &Bytes,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Refused<Answer> {
    if !trigger.allow_raw_delivery {
        return Err(Problem::forbidden(
            "raw-delivery-not-allowed",
            "raw messages carry no signature, and the workflow does not set allowRawDelivery",
        ));
    }
    let notification = RawNotification::parse(headers).map_err(|error| refusal(&error))?;
    note_message(&notification.topic_arn, &notification.message_id);
    topic_allowed(
        authorized,
        trigger,
        &notification.topic_arn,
        MessageType::Notification,
    )?;
    let Ok(message) = String::from_utf8(body.to_vec()) else {
        return Err(Problem::malformed(
            "body-not-utf8",
            "the message is not UTF-8",
        ));
    };
    if !filter::wants(trigger, &message, &MessageAttributes::default()) {
        return Ok(filter::left_out(ingest, authorized, seen, traceparent));
    }
    let now = authorized.head.received_at;
    let topic = notification.topic_arn.as_str().to_owned();
    let message = Message {
        scope: Some(EventScope {
            message,
            subject: None,
            attributes: std::collections::BTreeMap::new(),
            topic_arn: Some(topic.clone()),
            message_id: notification.message_id.clone(),
            timestamp: now.to_string(),
        }),
        topic,
        message_id: notification.message_id,
        digest: *blake3::hash(body).as_bytes(),
        body: body.clone(),
        signature: None,
        deduplicate_from: now,
    };
    accept(ingest, authorized, message, seen, traceparent).await
}

async fn confirmation(
    ingest: &Ingest,
    authorized: &Authorized,
    verified: &Verified<'_>,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Refused<Answer> {
    let token = verified.token().ok_or_else(|| {
        Problem::malformed("token-malformed", "the confirmation's token is unusable")
    })?;
    let head = &authorized.head;
    let handshake = Handshake {
        workflow: head.workflow.clone(),
        topic_arn: verified.topic_arn().as_str().to_owned(),
        token: token.expose().to_owned(),
        certificate_origin: verified.certificate_origin().to_string(),
        received_at: head.received_at,
        attempts: 0,
    };
    let record = delivery(head, copy(seen), Verdict::Accepted, "", "", StatusCode::OK);
    ingest
        .spool
        .accept_handshake(handshake, record, traceparent)
        .await
        .map_err(|error| spool_problem(&error))?;
    Ok(Answer::Accepted {
        execution: None,
        duplicate: false,
    })
}

/// Recorded and shown. Its SubscribeURL would subscribe anew: it is never followed.
async fn unsubscribed(
    ingest: &Ingest,
    authorized: &Authorized,
    verified: &Verified<'_>,
    seen: &mut Seen,
    traceparent: Option<String>,
) -> Refused<Answer> {
    let head = &authorized.head;
    let change = SubscriptionChange {
        workflow: head.workflow.clone(),
        topic_arn: verified.topic_arn().as_str().to_owned(),
        subscription_arn: None,
        state: SubscriptionState::Unsubscribed,
        confirm_attempts: 0,
        last_error: None,
    };
    let record = delivery(head, copy(seen), Verdict::Accepted, "", "", StatusCode::OK);
    let bodies = [
        RecordBody::Subscription(Box::new(change)),
        RecordBody::Delivery(Box::new(record)),
    ];
    let records = bodies.into_iter().map(|body| Record {
        time: head.received_at,
        traceparent: traceparent.clone(),
        body,
    });
    ingest
        .spool
        .append(records.collect())
        .await
        .map_err(|error| spool_problem(&error))?;
    Ok(Answer::Accepted {
        execution: None,
        duplicate: false,
    })
}

fn copy(seen: &Seen) -> Seen {
    Seen {
        message_type: seen.message_type.clone(),
        message_id: seen.message_id.clone(),
        topic_arn: seen.topic_arn.clone(),
        execution: seen.execution.clone(),
    }
}
