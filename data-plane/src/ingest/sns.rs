//! `…/sns`: Amazon SNS's three kinds of messages, and raw delivery.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use jiff::Timestamp;
use signalbox_model::{
    event::{Event, EventScope, SignatureProof, TriggerKind},
    ids::{ExecutionId, ExecutionName},
    limits,
    record::{
        Accepted, Certificate, Record, RecordBody, SubscriptionChange, SubscriptionState, Verdict,
    },
    workflow::{AmazonSnsTrigger, Trigger},
};
use signalbox_sns::{
    Envelope, Headers, MessageType, RawNotification, Refusal, RefusalKind, SignaturePolicy,
    SignatureVersion, SigningCertUrl, SigningCertificate, Verified, verify,
};

use super::{Answer, Authorized, Ingest, Problem, Seen, answered, delivery, later, spool_problem};
use crate::spool::{Accept, Handshake};

type Refused<T> = Result<T, Problem>;

/// The trace context that a publisher put among the attributes.
pub(super) fn traceparent(body: &[u8]) -> Option<String> {
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
    let Trigger::AmazonSns(trigger) = authorized.published.workflow.trigger() else {
        return Err(Problem::not_found(
            "trigger-other",
            "the workflow's trigger is of another kind",
        ));
    };
    content_type(&authorized.head.headers)?;
    let headers = sns_headers(&authorized.head.headers);
    note_headers(seen, &headers);
    if headers.raw_delivery && headers.message_type == Some(MessageType::Notification.as_str()) {
        return raw(
            ingest,
            authorized,
            trigger,
            &headers,
            body,
            seen,
            traceparent,
        )
        .await;
    }
    let envelope = Envelope::parse(body).map_err(|error| refusal(&error))?;
    seen.message_type = envelope.message_type().to_string();
    envelope.message_id().clone_into(&mut seen.message_id);
    envelope
        .topic_arn()
        .as_str()
        .clone_into(&mut seen.topic_arn);
    envelope
        .check_headers(&headers)
        .map_err(|error| refusal(&error))?;
    topic_allowed(
        authorized,
        trigger,
        envelope.topic_arn().as_str(),
        envelope.message_type(),
    )?;

    let location = SigningCertUrl::parse(
        envelope.signing_cert_url(),
        envelope.topic_arn(),
        &ingest.trust,
    )
    .map_err(|error| refusal(&error))?;
    let certificate = ingest.certificates.get(&location).await?;
    let policy = SignaturePolicy {
        minimum_version: if trigger.minimum_signature_version >= 2 {
            SignatureVersion::V2
        } else {
            SignatureVersion::V1
        },
    };
    let now = authorized.head.received_at;
    let verified =
        verify(&envelope, &certificate, now, &policy).map_err(|error| refusal(&error))?;
    check_age(ingest, trigger, verified.timestamp(), now)?;
    match verified.message_type() {
        MessageType::Notification => {
            let proof = SignatureProof {
                version: match verified.signature_version() {
                    SignatureVersion::V1 => 1,
                    SignatureVersion::V2 => 2,
                },
                signing_cert_url: envelope.signing_cert_url().to_owned(),
                certificate_sha256: verified.certificate_fingerprint().to_string(),
            };
            let digest = *blake3::hash(&envelope.string_to_sign()).as_bytes();
            let kept_body = Bytes::from(envelope.redacted_body().into_owned());
            let deduplicate_from = now.max(verified.timestamp());
            let scope = scope_of(verified);
            let message = Message {
                scope,
                body: kept_body,
                signature: Some((proof, certificate)),
                digest,
                deduplicate_from,
            };
            accept(ingest, authorized, message, seen, traceparent).await
        }
        MessageType::SubscriptionConfirmation => {
            confirmation(ingest, authorized, &verified, seen, traceparent).await
        }
        MessageType::UnsubscribeConfirmation => {
            unsubscribed(ingest, authorized, &verified, seen, traceparent).await
        }
    }
}

/// Amazon SNS sends `text/plain` unless the delivery policy says otherwise; the body is JSON all the same.
fn content_type(headers: &HeaderMap) -> Refused<()> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(());
    };
    let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let fits = essence.starts_with("text/")
        || essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
        || essence == "application/octet-stream"
        || essence == "application/x-www-form-urlencoded";
    if fits {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "content-type-unsupported",
        "expected text/plain or application/json",
    ))
}

fn sns_headers(headers: &HeaderMap) -> Headers<'_> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Headers {
        message_type: text("x-amz-sns-message-type"),
        message_id: text("x-amz-sns-message-id"),
        topic_arn: text("x-amz-sns-topic-arn"),
        subscription_arn: text("x-amz-sns-subscription-arn"),
        raw_delivery: text("x-amz-sns-rawdelivery")
            .is_some_and(|value| value.eq_ignore_ascii_case("true")),
    }
}

/// The sender's claims, bounded, until the body says better.
fn note_headers(seen: &mut Seen, headers: &Headers<'_>) {
    let claim = |value: Option<&str>| -> String {
        value
            .unwrap_or_default()
            .chars()
            .take(limits::OPAQUE_ID_MAX_BYTES)
            .collect()
    };
    seen.message_type = claim(headers.message_type);
    seen.message_id = claim(headers.message_id);
    seen.topic_arn = claim(headers.topic_arn);
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
    topic: &str,
    message_type: MessageType,
) -> Refused<()> {
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
        (None, MessageType::SubscriptionConfirmation) => Ok(()),
        (None, MessageType::Notification | MessageType::UnsubscribeConfirmation) => {
            Err(Problem::unavailable(
                "topic-not-bound",
                "no topic is bound to the workflow yet: its first subscription is being confirmed, or there is none",
            ))
        }
    }
}

fn check_age(
    ingest: &Ingest,
    trigger: &AmazonSnsTrigger,
    timestamp: Timestamp,
    now: Timestamp,
) -> Refused<()> {
    let window = ingest.deduplication_window;
    let limit = trigger
        .max_message_age
        .map_or(window, |age| age.min(window));
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

fn scope_of(verified: Verified) -> EventScope {
    let attributes = verified.unsigned_attributes().iter();
    EventScope {
        attributes: attributes
            .map(|(name, attribute)| (name.to_owned(), attribute.to_json()))
            .collect(),
        subject: verified.subject().map(str::to_owned),
        topic_arn: Some(verified.topic_arn().as_str().to_owned()),
        message_id: verified.message_id().to_owned(),
        timestamp: verified.timestamp().to_string(),
        message: verified.into_message(),
    }
}

/// A message that may be accepted.
struct Message {
    scope: EventScope,
    body: Bytes,
    signature: Option<(SignatureProof, SigningCertificate)>,
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
        scope,
        body,
        signature,
        digest,
        deduplicate_from,
    } = message;
    let head = &authorized.head;
    let topic = scope.topic_arn.as_deref().unwrap_or_default();
    let execution = ExecutionName {
        project: head.workflow.project.clone(),
        execution: ExecutionId::derive(&head.workflow, topic, &scope.message_id, None),
    };
    seen.execution = Some(execution.clone());
    let (signature, certificate) = signature.unzip();
    let certificate = certificate.map(|certificate| Certificate {
        sha256: certificate.fingerprint().to_string(),
        pem: certificate.pem().to_owned(),
    });
    let record = delivery(
        head,
        std::mem::take(seen),
        Verdict::Accepted,
        "",
        "",
        StatusCode::OK,
    );
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
                    scope,
                    body,
                    content_type: content_type_text(&head.headers),
                    source_address: Some(head.source.to_string()),
                    signature,
                    received_at: head.received_at,
                },
            },
            content_digest: digest,
            certificate,
            definition: authorized.published.source.clone(),
            delivery: Some(record.clone()),
            traceparent,
            deduplicate_until: later(deduplicate_from, ingest.deduplication_window),
        })
        .await
        .map_err(|error| spool_problem(&error));
    // A refusal after this point is recorded with what was seen.
    seen.message_type = record.message_type;
    seen.message_id = record.message_id;
    seen.topic_arn = record.topic_arn;
    answered(acceptance?, execution)
}

fn content_type_text(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.chars().take(256).collect())
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
    topic_allowed(
        authorized,
        trigger,
        notification.topic_arn.as_str(),
        MessageType::Notification,
    )?;
    let Ok(message) = String::from_utf8(body.to_vec()) else {
        return Err(Problem::malformed(
            "body-not-utf8",
            "the message is not UTF-8",
        ));
    };
    let now = authorized.head.received_at;
    let message = Message {
        scope: EventScope {
            message,
            subject: None,
            attributes: std::collections::BTreeMap::new(),
            topic_arn: Some(notification.topic_arn.as_str().to_owned()),
            message_id: notification.message_id,
            timestamp: now.to_string(),
        },
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
    verified: &Verified,
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
    verified: &Verified,
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
