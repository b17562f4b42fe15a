#![allow(clippy::unwrap_used, clippy::expect_used)]

use jiff::Timestamp;
use serde_json::json;
use signalbox_engine::Shown;
use signalbox_model::{ids::StepId, limits, script::ScriptModule};

use super::*;

fn effect(body: &str) -> Effect {
    let text = format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\02\00\00\00")
        (data (i32.const 16) "[]")
        (func (export "_start") {body}))"#
    );
    let call = ScriptCall {
        module: Arc::new(ScriptModule::from_text(&text).unwrap()),
        input: "null".into(),
        fuel: limits::SCRIPT_FUEL_MAX,
        memory_max_bytes: limits::SCRIPT_PAGE_BYTES,
        time: Timestamp::UNIX_EPOCH,
    };
    Effect {
        step: "run".parse::<StepId>().unwrap().into(),
        attempt: 1,
        repeated: false,
        idempotency_key: "key".to_owned(),
        timeout: Duration::from_secs(60),
        kind: EffectKind::Script(Box::new(call)),
        shown: Shown::All,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_dropped_stops_and_makes_room() {
    let performer = ScriptPerformer::default();
    let places = performer.places.available_permits();
    assert!((1..=RUNNING_MAX).contains(&places));
    let endless: Vec<_> = (0..places + 2)
        .map(|_| tokio::spawn(performer.perform(effect("(loop $l (br $l))"))))
        .collect();
    while performer.places.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    for attempt in &endless {
        attempt.abort();
    }
    let write = "(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))";
    let Outcome::Script(end) = performer.perform(effect(write)).await else {
        panic!("it ends")
    };
    assert_eq!(end.result, Ok(json!([])));
    let all = u32::try_from(places).unwrap();
    let free = performer.places.acquire_many(all);
    let free = tokio::time::timeout(Duration::from_secs(30), free).await;
    free.unwrap().unwrap().forget();
}
