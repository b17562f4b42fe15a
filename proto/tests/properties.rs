//! What goes over the wire comes back as it was, whatever it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use serde_json::Value;
use signalbox_model::{
    execution::JsonText,
    record::{Delivery, Record, RecordBody, SequencedRecord, Verdict},
};
use signalbox_proto::convert::{definition, record, time};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-(1_i64 << 53)..=(1 << 53)).prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has it, and it is no whole number", |n| n.is_finite()
                && n.fract() != 0.0)
            .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".{0,8}", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_values(value in any_json()) {
        prop_assert_eq!(definition::inexact_number(&value), None);
        let wire = definition::from_json(&value);
        prop_assert_eq!(definition::to_json(&wire, 64).unwrap(), value);
    }

    #[test]
    fn times(seconds in -60_000_000_000_i64..=200_000_000_000, nanos in 0..1_000_000_000_i32) {
        let time = jiff::Timestamp::new(seconds, nanos).unwrap();
        let wire = time::to_wire(time);
        prop_assert!((0..1_000_000_000).contains(&wire.nanos));
        prop_assert_eq!(time::from_wire("t", wire).unwrap(), time);
    }

    #[test]
    fn durations(seconds in 0..i64::MAX.unsigned_abs(), nanos in 0..1_000_000_000_u32) {
        let duration = std::time::Duration::new(seconds, nanos);
        prop_assert_eq!(time::duration(time::duration_to_wire(duration)).unwrap(), duration);
    }

    #[test]
    fn deliveries(
        sequence in 1..i64::MAX.unsigned_abs(),
        nanos in any::<i64>(),
        // U+0000, which no database keeps, comes as another: tests/mapping.rs.
        texts in prop::array::uniform7("[^\\x00]{0,40}"),
        status in any::<u16>(),
        traceparent in prop::option::of("[0-9a-f]{8}"),
    ) {
        let [reason, detail, message_type, message_id, topic_arn, source_address, _] = texts;
        let sent = SequencedRecord {
            sequence,
            record: Record {
                time: jiff::Timestamp::from_nanosecond(nanos.into()).unwrap(),
                traceparent,
                body: RecordBody::Delivery(Box::new(Delivery {
                    id: "d1".parse().unwrap(),
                    workflow: "projects/p/workflows/w".parse().unwrap(),
                    verdict: Verdict::Duplicate,
                    reason,
                    detail,
                    http_status: status,
                    message_type,
                    message_id,
                    topic_arn,
                    source_address,
                    execution: Some("projects/p/executions/x".parse().unwrap()),
                })),
            },
        };
        prop_assert_eq!(record::from_wire(record::to_wire(sent.clone())).unwrap(), sent);
    }

    /// Whatever a peer sends is taken or refused, never a panic.
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        use prost::Message as _;
        if let Ok(wire) = signalbox_proto::dataplane::v1::Record::decode(bytes.as_slice()) {
            let _ = record::from_wire(wire);
        }
        let _ = definition::decode(&bytes, &"p".parse().unwrap());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = signalbox_proto::convert::yaml::read::<signalbox_proto::v1::Workflow>(&text);
        let _ = JsonText::try_from(text);
    }
}

#[test]
fn numbers_that_would_lose_digits_are_found() {
    let inexact = serde_json::json!({"a": [1, {"b": 9_007_199_254_740_993_i64}]});
    assert_eq!(
        definition::inexact_number(&inexact).as_deref(),
        Some("9007199254740993")
    );
    assert_eq!(
        definition::inexact_number(&serde_json::json!([-9_007_199_254_740_992_i64])),
        None
    );
}
