//! What the intake log's records say.

use bytes::Bytes;
use signalbox_data_plane::fuzzing::{Content, decode_record, encode_accepted};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "intake_record",
    body,
    mutations: 20_000,
    tokens: &[
        "\x01",
        "\x02",
        "\x03",
        "\0\0\0\0",
        "projects/default/executions/e",
        "projects/default/workflows/w",
        "{\"sha256\":\"\",\"pem\":\"\"}",
        "{\"message\":\"\"}",
    ],
};

/// The first byte is the tag, the rest the payload.
pub fn body(bytes: &[u8]) {
    let Some((tag, payload)) = bytes.split_first() else {
        return;
    };
    let payload = Bytes::copy_from_slice(payload);
    match decode_record(*tag, &payload) {
        Ok(Content::Accepted(accept)) => {
            assert_eq!(*tag, 1);
            assert!(payload.ends_with(&accept.accepted.event.body));
            let (tag, written) = encode_accepted(&accept).unwrap();
            let Ok(Content::Accepted(again)) = decode_record(tag, &written) else {
                panic!("what was written is not read");
            };
            assert_eq!(again.accepted, accept.accepted);
            assert_eq!(again.scope, accept.scope);
            assert_eq!(again.content_digest, accept.content_digest);
            assert_eq!(again.definition, accept.definition);
            assert_eq!(again.message_type, accept.message_type);
            assert_eq!(again.traceparent, accept.traceparent);
            assert_eq!(again.deduplicate_until, accept.deduplicate_until);
        }
        Ok(Content::Definition(definition)) => {
            assert_eq!(*tag, 2);
            assert_eq!(
                [&definition.digest[..], &definition.source].concat(),
                payload
            );
        }
        Ok(Content::Certificate(_)) => assert_eq!(*tag, 3),
        Err(_) => {}
    }
}
