use bytes::Bytes;
use signalbox_data_plane::{
    fuzzing::encode_accepted,
    spool::{Accept, ScopeSource},
};
use signalbox_model::{event::*, record::Accepted};
#[test]
fn generate() {
    let accept = |scope: ScopeSource, full: bool| Accept {
        accepted: Accepted {
            execution: "projects/default/executions/e1".parse().unwrap(),
            workflow: "projects/default/workflows/w".parse().unwrap(),
            version: 3,
            event: Event {
                trigger: if full {
                    TriggerKind::AmazonSns
                } else {
                    TriggerKind::Webhook
                },
                api_key: full.then(|| "projects/default/apiKeys/k".parse().unwrap()),
                scope: EventScope {
                    message: "hello".into(),
                    subject: full.then(|| "s".into()),
                    attributes: [("n".to_owned(), 1.into())].into(),
                    topic_arn: full.then(|| "arn:aws:sns:eu-central-1:123456789012:t".into()),
                    message_id: "m-1".into(),
                    timestamp: "2026-11-24T00:00:00Z".into(),
                },
                body: Bytes::from_static(b"{\"a\":1}"),
                content_type: full.then(|| "text/plain".into()),
                source_address: full.then(|| "192.0.2.1".into()),
                signature: full.then(|| SignatureProof {
                    version: 2,
                    signing_cert_url: "https://sns".into(),
                    certificate_sha256: "c".repeat(64),
                }),
                received_at: "2026-11-24T10:00:01.5Z".parse().unwrap(),
            },
        },
        scope,
        content_digest: [7; 32],
        certificate: None,
        definition: Bytes::from_static(b"definition").into(),
        message_type: full.then(|| "Notification".into()),
        traceparent: full.then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        deduplicate_until: "2026-12-01T10:00:01.5Z".parse().unwrap(),
    };
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/intake_record");
    std::fs::create_dir_all(&dir).unwrap();
    let put = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    for (name, scope, full) in [
        ("sns", ScopeSource::Envelope, true),
        ("raw", ScopeSource::Event, true),
        ("webhook", ScopeSource::Event, false),
    ] {
        let (tag, payload) = encode_accepted(&accept(scope, full)).unwrap();
        let bytes = [&[tag][..], &payload].concat();
        put(name, &bytes);
        if full {
            put(&format!("{name}-cut"), &bytes[..bytes.len() / 2]);
        }
    }
    put("definition", &[&[2][..], &[9; 32], b"source"].concat());
    put("definition-cut", &[&[2][..], &[9; 31]].concat());
    put("certificate", b"\x03{\"sha256\":\"00\",\"pem\":\"pem\"}");
    put("length", b"\x01\xff\xff\xff\xff");
    put("tag", b"\x04");
}
