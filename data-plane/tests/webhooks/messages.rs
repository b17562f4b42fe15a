//! What accepted messages become.

use std::collections::BTreeMap;

use serde_json::json;
use signalbox_model::{
    event::TriggerKind,
    ids::ExecutionId,
    record::{RecordBody, SubscriptionState, Verdict},
};
use signalbox_sns::{
    Envelope, MessageAttribute, MessageType, SignaturePolicy, SignatureVersion, SigningCertUrl,
    SigningCertificate, SubscriptionArn, verify,
};

use crate::{
    node::{KEY, Node, eventually},
    sns::{ORDERS, STRANGER, TOKEN, sign},
};

fn attribute(data_type: &str, value: &str) -> MessageAttribute {
    MessageAttribute {
        data_type: data_type.to_owned(),
        value: value.to_owned(),
    }
}

#[tokio::test]
async fn a_notification_becomes_an_event_with_its_proof() {
    let node = Node::start().await;
    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        let mut draft = node
            .origin
            .notification(&format!("m{version}"), "grüße ☃\n{\"k\":1}");
        draft.version = version;
        draft.subject = Some("A subject".to_owned());
        draft.subscription_arn = Some(SubscriptionArn::parse(&format!("{ORDERS}:s")).unwrap());
        draft.attributes = BTreeMap::from([
            ("tenant".to_owned(), attribute("String", "acme")),
            ("n".to_owned(), attribute("Number", "42")),
        ])
        .into();
        let answer = node.deliver("orders", sign(&draft)).await;
        assert_eq!(answer.status, 200, "{answer:?}");

        let workflow = "projects/default/workflows/orders".parse().unwrap();
        let id = ExecutionId::derive(&workflow, ORDERS, &draft.message_id, None);
        let execution = format!("projects/default/executions/{id}");
        assert_eq!(
            answer.json(),
            json!({"execution": execution, "duplicate": false})
        );

        let accepted = node.accepted().await.pop().unwrap();
        assert_eq!(accepted.execution.to_string(), execution);
        assert_eq!((accepted.workflow, accepted.version), (workflow, 3));
        let event = accepted.event;
        assert_eq!(event.trigger, TriggerKind::AmazonSns);
        assert_eq!(
            event.api_key.unwrap().to_string(),
            "projects/default/apiKeys/sender"
        );
        assert_eq!(
            event.content_type.as_deref(),
            Some("text/plain; charset=UTF-8")
        );
        assert_eq!(event.source_address.as_deref(), Some("127.0.0.1"));
        let scope = event.scope;
        assert_eq!(scope.message, draft.message);
        assert_eq!(scope.subject.as_deref(), Some("A subject"));
        assert_eq!(scope.topic_arn.as_deref(), Some(ORDERS));
        assert_eq!(scope.message_id, draft.message_id);
        assert_eq!(
            serde_json::to_value(&scope.attributes).unwrap(),
            json!({"tenant": "acme", "n": 42})
        );

        // I10: what is kept verifies again, and holds no capability.
        let proof = event.signature.unwrap();
        let kept = String::from_utf8(event.body.to_vec()).unwrap();
        assert!(!kept.contains("Action=Unsubscribe"), "{kept}");
        let pem = node
            .records()
            .await
            .into_iter()
            .find_map(|record| match record.record.body {
                RecordBody::Certificate(certificate) => Some(certificate),
                _ => None,
            });
        let pem = pem.unwrap();
        assert_eq!(pem.sha256, proof.certificate_sha256);
        let envelope = Envelope::parse(kept.as_bytes()).unwrap();
        let location =
            SigningCertUrl::parse(&proof.signing_cert_url, envelope.topic_arn(), &node.trust)
                .unwrap();
        let certificate =
            SigningCertificate::from_pem(pem.pem.as_bytes(), location.expected_name()).unwrap();
        let policy = SignaturePolicy::default();
        let verified = verify(&envelope, &certificate, event.received_at, &policy).unwrap();
        assert_eq!(
            verified.signature_version().as_str(),
            proof.version.to_string()
        );
    }
    let deliveries = node.deliveries().await;
    assert_eq!(deliveries.len(), 2);
    for delivery in deliveries {
        assert_eq!(
            (delivery.verdict, delivery.http_status),
            (Verdict::Accepted, 200)
        );
        assert_eq!(delivery.message_type, "Notification");
        assert_eq!(delivery.topic_arn, ORDERS);
        assert!(delivery.execution.is_some());
    }
}

#[tokio::test]
async fn labels_do_not_decide() {
    let node = Node::start().await;
    for label in [
        None,
        Some("text/plain; charset=UTF-8"),
        Some("application/json"),
        Some("TEXT/PLAIN"),
    ] {
        let mut message = sign(&node.origin.notification(label.unwrap_or("none"), "hello"));
        message.headers.retain(|(name, _)| *name != "content-type");
        let mut request = node.delivery_of("orders", message);
        if let Some(label) = label {
            request = request.header("content-type", label);
        }
        let answer = node.send(request).await;
        assert_eq!(answer.status, 200, "{label:?}: {answer:?}");
    }
    // Without any header of SNS's: the signed body is all that counts.
    let message = sign(&node.origin.notification("bare", "hello"));
    let url = format!("{}?x-api-key={KEY}", node.sns_url("orders"));
    assert_eq!(
        node.send(node.request(&url).body(message.body))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn raw_messages_are_taken_where_the_workflow_says_so_and_marked_unsigned() {
    let node = Node::start().await;
    let draft = node
        .origin
        .notification("raw-1", "line one\nzwei: grüße ☃ {\"k\": 1}");
    let answer = node.deliver("raw", draft.raw()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = node.accepted().await.pop().unwrap().event;
    assert_eq!(event.signature, None);
    assert_eq!(event.scope.message, draft.message);
    assert_eq!(event.scope.message_id, "raw-1");
    assert_eq!(event.body, draft.message.as_bytes());

    // Signed messages of the same workflow are verified all the same.
    let corruption = signalbox_sns::signer::Corruption::Message;
    let forged = draft
        .sign_corrupted(&crate::sns::SIGNER, corruption)
        .unwrap();
    assert_eq!(
        node.deliver("raw", forged).await.reason(),
        "signature-invalid"
    );
    assert_eq!(node.origin.asked_for(crate::sns::CERTIFICATE), 1);

    for missing in [
        "x-amz-sns-message-id",
        "x-amz-sns-topic-arn",
        "x-amz-sns-message-type",
    ] {
        let mut message = draft.raw();
        message.headers.retain(|(name, _)| *name != missing);
        let answer = node.deliver("raw", message).await;
        assert_eq!(answer.status, 400, "{missing}: {answer:?}");
    }
    assert_eq!(node.accepted().await.len(), 1);
}

#[tokio::test]
async fn the_first_topic_may_confirm_but_not_notify_before_it_is_bound() {
    let node = Node::start().await;
    let confirmation = MessageType::SubscriptionConfirmation;
    let draft = node.origin.confirmation(confirmation, ORDERS, TOKEN);
    let answer = node.deliver("unbound", sign(&draft)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let notification = node.origin.notification("m", "hello");
    let answer = node.deliver("unbound", sign(&notification)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (503, "topic-not-bound")
    );
    assert_eq!(node.deliver("bound", sign(&notification)).await.status, 200);
    let other = node.origin.confirmation(confirmation, STRANGER, TOKEN);
    for workflow in ["bound", "orders"] {
        assert_eq!(
            node.deliver(workflow, sign(&other)).await.reason(),
            "topic-not-allowed"
        );
    }
    let fifo = node
        .origin
        .confirmation(confirmation, &format!("{ORDERS}.fifo"), TOKEN);
    assert_eq!(
        node.deliver("unbound", sign(&fifo)).await.reason(),
        "topic-not-allowed"
    );
}

#[tokio::test]
async fn an_unsubscribe_confirmation_is_noted_and_never_followed() {
    let node = Node::start().await;
    let confirmer = node.confirm();
    let draft = node
        .origin
        .confirmation(MessageType::UnsubscribeConfirmation, ORDERS, TOKEN);
    let answer = node.deliver("orders", sign(&draft)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let changes = node.subscription_changes().await;
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].state, SubscriptionState::Unsubscribed);
    assert_eq!(changes[0].topic_arn, ORDERS);
    assert_eq!(
        node.deliveries().await[0].message_type,
        "UnsubscribeConfirmation"
    );

    // Forged, it cuts nothing.
    let corruption = signalbox_sns::signer::Corruption::Signature;
    let forged = draft
        .sign_corrupted(&crate::sns::SIGNER, corruption)
        .unwrap();
    assert_eq!(
        node.deliver("orders", forged).await.reason(),
        "signature-invalid"
    );
    assert_eq!(node.subscription_changes().await.len(), 1);

    // A confirmation that came later is followed: by then this one would have been.
    let later = node.origin.confirmation(
        MessageType::SubscriptionConfirmation,
        ORDERS,
        "another-token",
    );
    assert_eq!(node.deliver("orders", sign(&later)).await.status, 200);
    eventually("the confirmation", || async {
        (node.origin.asked_for("/?Action=ConfirmSubscription") > 0).then_some(())
    })
    .await;
    let asked = node.origin.asked();
    assert!(
        !asked.iter().any(|target| target.contains(TOKEN)),
        "{asked:?}"
    );
    confirmer.stop();
}

#[tokio::test]
async fn documents_become_events() {
    let node = Node::start().await;
    let url = format!("{}?x-api-key={KEY}", node.hook_url("hook"));
    let post = |body: &'static str| {
        node.request(&url)
            .header("content-type", "application/vnd.x+json; charset=utf-8")
            .body(body)
    };
    let answer = node.send(post(" {\"n\": 12345678901234567890.5}\n")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = node.accepted().await.pop().unwrap().event;
    assert_eq!(event.trigger, TriggerKind::Webhook);
    assert_eq!(event.scope.message, " {\"n\": 12345678901234567890.5}\n");
    assert_eq!((event.scope.topic_arn, event.signature), (None, None));

    // Without a key of its own, each is another; with one, a repeat is known.
    let other = node.send(post("{}")).await.json();
    assert_ne!(other["execution"], answer.json()["execution"]);
    let keyed = |body| node.send(post(body).header("idempotency-key", "order-7"));
    let first = keyed("{\"a\":1}").await.json();
    assert_eq!(first["duplicate"], false);
    let second = keyed("{\"a\":1}").await.json();
    assert_eq!(
        second,
        json!({"execution": first["execution"], "duplicate": true})
    );
    let third = keyed("{\"a\":2}").await;
    assert_eq!(
        (third.status.as_u16(), third.reason().as_str()),
        (403, "message-id-reused")
    );
    assert_eq!(node.accepted().await.len(), 3);
}
