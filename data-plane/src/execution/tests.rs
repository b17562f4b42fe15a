#![allow(clippy::unwrap_used, clippy::expect_used)]

mod children;
mod flow;
mod http;
mod links;
mod places;
mod script;
mod secrets;
mod signal;
mod slack;
pub(super) mod support;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::FutureExt as _;
use serde_json::json;
use signalbox_engine::EffectKind;
use signalbox_model::execution::{ExecutionState, Fact, StepState};

use super::*;
use support::{
    Flaky, Reply, Target, World, attempts, code_of, finished, http_step, loopback, output_of,
};

/// Longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_runs_from_its_event_to_its_output() {
    let target = Target::start(|_| Reply::json(200, &json!({"seen": true}))).await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
vars: {{greeting: hello}}
steps:
  - id: shape
    transform: {{expression: "vars.greeting + ' ' + event.json.name"}}
  - id: call
    http:
      url: http://{}/path?token=s3cret
      headers: {{X-Name: "${{{{ event.json.name }}}}", Authorization: Bearer s3cret}}
      json: {{text: "${{{{ steps.shape.output }}}}"}}
  - id: pick
    condition:
      rules:
        - if: steps.call.output.json.seen
          steps:
            - id: done
              succeed: {{output: {{status: "${{{{ steps.call.output.status }}}}", by: "${{{{ execution.id }}}}"}}}}
"#,
        target.addr
    );
    let execution = world.accept(&definition, "one", r#"{"name": "Ada"}"#).await;
    world.run();
    let facts = world.finished(&execution).await;
    let id = execution.execution.to_string();
    assert_eq!(output_of(&facts), json!({"status": 200, "by": id}));
    let calls = target.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].body, r#"{"text":"hello Ada"}"#);
    assert_eq!(calls[0].header("x-name"), "Ada");
    assert_eq!(calls[0].header("authorization"), "Bearer s3cret");
    assert_eq!(calls[0].header("content-type"), "application/json");
    assert_eq!(calls[0].header("idempotency-key").len(), 32);
    // What is recorded is not what is secret, and says where it belongs.
    let records = format!("{:?}", world.records(&execution).await);
    assert!(!records.contains("s3cret"), "{records}");
    assert!(records.contains(support::TRACEPARENT), "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_retried_with_one_key() {
    let seen = AtomicUsize::new(0);
    let target = Target::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::text(500, "not now"),
        1 => Reply::Break,
        _ => Reply::text(200, "now"),
    })
    .await;
    let mut world = World::start().await;
    let retry = "retry: {maxAttempts: 3, initialBackoff: 0.01s}";
    let definition = http_step(&format!("http://{}/", target.addr), retry);
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts)["body"], "now");
    assert_eq!(attempts(&facts), [(1, false), (2, false), (3, false)]);
    let errors: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::AttemptFailed { error, .. } => Some(error.code.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(errors, ["HTTP_STATUS", "CONNECTION"]);
    let calls = target.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.header("idempotency-key") == calls[0].header("idempotency-key"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_code() {
    let target = Target::start(|call| match call.path.as_str() {
        "/missing" => Reply::text(404, "no such\nthing"),
        "/moved" => Reply::text(302, ""),
        "/slow" => Reply::Never,
        "/drip" => Reply::Drip,
        "/announced" => Reply::text(200, &"x".repeat(limits_max() + 1)),
        "/chunked" => Reply::Chunks(limits_max() + 1),
        "/refused-large" => Reply::text(400, &"x".repeat(limits_max() + 1)),
        other => panic!("{other}"),
    })
    .await;
    let closed = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut world = World::start().await;
    world.run();
    let base = format!("http://{}", target.addr);
    for (url, expected) in [
        (
            format!("{base}/missing"),
            "HTTP_STATUS: step \"call\": the server answered 404: no such thing",
        ),
        (
            format!("{base}/moved"),
            "HTTP_STATUS: step \"call\": the server answered 302",
        ),
        (
            format!("{base}/slow"),
            "TIMEOUT: step \"call\": there was no complete response within 200ms",
        ),
        (
            format!("{base}/drip"),
            "TIMEOUT: step \"call\": there was no complete response within 200ms",
        ),
        (format!("{base}/announced"), "RESPONSE_TOO_LARGE: "),
        (format!("{base}/chunked"), "RESPONSE_TOO_LARGE: "),
        (format!("{base}/refused-large"), "HTTP_STATUS: "),
        (format!("http://{closed}/"), "CONNECTION: "),
        (
            "http://169.254.169.254/latest".to_owned(),
            "EGRESS_BLOCKED: ",
        ),
        ("http://no-such-host.invalid/".to_owned(), "CONNECTION: "),
        ("${{ 'ftp://x/' }}".to_owned(), "INVALID_REQUEST: "),
    ] {
        let definition = http_step(&url, "timeout: 0.2s");
        let execution = world.accept(&definition, &url, "{}").await;
        let facts = world.finished(&execution).await;
        let error = finished(&facts).1.unwrap().to_string();
        assert!(error.starts_with(expected), "{url}: {error}");
    }
}

fn limits_max() -> usize {
    signalbox_model::limits::VALUE_MAX_BYTES
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_cannot_be_read_fails_its_execution() {
    let mut world = World::start().await;
    let execution = world.accept_definition(&b"\xff\xff"[..], "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(code_of(&facts), "DEFINITION");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_interrupted_runs_again_as_a_repeat_with_the_same_key() {
    let seen = Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let target = Target::start(move |_| match counter.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Never,
        _ => Reply::text(200, "done"),
    })
    .await;
    let mut world = World::start().await;
    let definition = http_step(&format!("http://{}/", target.addr), "");
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    target.called(1).await;
    world.crash().await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(attempts(&facts), [(1, false), (1, true)]);
    let calls = target.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0].header("idempotency-key"),
        calls[1].header("idempotency-key")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_crashes_lose_and_repeat_no_execution() {
    let target = Target::start(|call| match call.body.len() % 3 {
        0 => Reply::After(Duration::from_millis(15), 200),
        1 => Reply::After(Duration::from_millis(1), 200),
        _ => Reply::After(Duration::from_millis(5), 503),
    })
    .await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: n, transform: {{expression: event.json.n}}}}
  - id: first
    retry: {{maxAttempts: 2, initialBackoff: 0.02s}}
    http: {{url: "http://{addr}/", text: "${{{{ event.message }}}}"}}
  - id: second
    http: {{url: "http://{addr}/", text: "${{{{ event.message }}}}"}}
  - {{id: last, transform: {{expression: steps.n.output}}}}
"#,
        addr = target.addr
    );
    let mut executions = Vec::new();
    for n in 0..30 {
        let message = format!("{{\"n\": {n}, \"pad\": \"{}\"}}", "x".repeat(n % 7));
        executions.push(world.accept(&definition, &n.to_string(), &message).await);
    }
    for round in 0..8 {
        world.run();
        target.called((round + 1) * 5).await;
        world.crash().await;
    }
    world.run();
    for (n, execution) in executions.iter().enumerate() {
        let facts = world.finished(execution).await;
        match finished(&facts).0 {
            ExecutionState::Succeeded => assert_eq!(output_of(&facts), json!(n)),
            ExecutionState::Failed => assert_eq!(code_of(&facts), "HTTP_STATUS"),
            other => panic!("{other:?}"),
        }
        let starts = facts.iter().filter(|fact| matches!(fact, Fact::Started));
        assert_eq!(starts.count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_attempts_finish_and_starts_no_other() {
    let target = Target::start(|call| match call.path.as_str() {
        "/one" => Reply::After(Duration::from_millis(300), 200),
        _ => Reply::text(200, "two"),
    })
    .await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: one, http: {{url: "http://{addr}/one"}}}}
  - {{id: two, http: {{url: "http://{addr}/two"}}}}
"#,
        addr = target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    target.called(1).await;
    world.stop().await;
    let facts = world.facts(&execution).await;
    assert!(
        matches!(facts.iter().rfind(|fact| matches!(fact, Fact::StepFinished { .. })), Some(Fact::StepFinished { step, state: StepState::Succeeded, .. }) if step.step.as_str() == "one"),
        "{facts:?}"
    );
    assert_eq!(target.calls().len(), 1);
    world.run();
    let facts = world.finished(&execution).await;
    // Neither step was interrupted, so none is marked as a repeat.
    assert_eq!(attempts(&facts), [(1, false), (1, false)]);
    assert_eq!(target.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_wait_leave_their_place_to_others() {
    let target = Target::start(|_| Reply::text(503, "")).await;
    let mut world = World::start().await;
    world.concurrency_max = 1;
    let waits = "retry: {maxAttempts: 2, initialBackoff: 3600s, maxBackoff: 3600s}";
    let waits = http_step(&format!("http://{}/", target.addr), waits);
    let quick =
        "trigger: {manual: {}}\nsteps: [{id: quick, transform: {expression: '1'}}]".to_owned();
    for n in 0..4 {
        world.accept(&waits, &format!("waits {n}"), "{}").await;
    }
    world.run();
    target.called(4).await;
    let execution = world.accept(&quick, "quick", "{}").await;
    assert_eq!(output_of(&world.finished(&execution).await), json!(1));
    // They do not hold up the end of the process either.
    tokio::time::timeout(PATIENCE, world.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_run_at_once_than_may() {
    let target = Target::start(|_| Reply::After(Duration::from_millis(30), 200)).await;
    let mut world = World::start().await;
    world.concurrency_max = 3;
    let definition = http_step(&format!("http://{}/", target.addr), "");
    let mut executions = Vec::new();
    for n in 0..20 {
        executions.push(world.accept(&definition, &n.to_string(), "{}").await);
    }
    world.run();
    for execution in &executions {
        assert_eq!(
            finished(&world.finished(execution).await).0,
            ExecutionState::Succeeded
        );
    }
    let most = target.most_at_once();
    assert!((2..=3).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_spool_is_asked_again_and_a_failed_one_is_not() {
    let mut world = World::start().await;
    let definition = "trigger: {manual: {}}\nsteps: [{id: a, transform: {expression: '1'}}]";
    let execution = world.accept(definition, "one", "{}").await;
    let busy = Flaky::new(world.spool(), SpoolError::Overloaded, 3);
    world.run_on(busy.clone());
    assert_eq!(output_of(&world.finished(&execution).await), json!(1));
    assert_eq!(busy.refused(), 3);
    world.stop().await;

    let execution = world.accept(definition, "two", "{}").await;
    let failed = Flaky::new(world.spool(), SpoolError::Failed("disk".into()), usize::MAX);
    world.run_on(failed.clone());
    failed.was_refused().await;
    // Drained, not forced: nothing hangs on the failed spool.
    world.stop().await;
    assert!(world.facts(&execution).await.is_empty());
    // Nothing was lost: the next start runs it.
    world.reopen().await;
    world.run();
    assert_eq!(output_of(&world.finished(&execution).await), json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_ends_its_execution_and_no_other() {
    struct Bug(HttpPerformer);
    impl Performer for Bug {
        fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
            let EffectKind::Http(request) = &effect.kind else {
                panic!("no other step is there")
            };
            if request.url.path() == "/bug" {
                return async { panic!("a bug") }.boxed();
            }
            self.0.perform(effect)
        }
    }
    let target = Target::start(|_| Reply::text(200, "fine")).await;
    let mut world = World::start().await;
    let http = HttpPerformer::new(loopback());
    world.performer = Some(Arc::new(Bug(http)));
    let call = |path: &str| http_step(&format!("http://{}{path}", target.addr), "");
    let broken = world.accept(&call("/bug"), "one", "{}").await;
    let fine = world.accept(&call("/fine"), "two", "{}").await;
    world.run();
    assert_eq!(code_of(&world.finished(&broken).await), "INTERNAL");
    assert_eq!(output_of(&world.finished(&fine).await)["body"], "fine");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_ends_at_its_timeout() {
    let target = Target::start(|_| Reply::Never).await;
    let mut world = World::start().await;
    let definition = format!(
        "{}\ntimeout: 0.3s",
        http_step(&format!("http://{}/", target.addr), "")
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(finished(&facts).0, ExecutionState::TimedOut);
    assert_eq!(code_of(&facts), "EXECUTION_TIMEOUT");
}

/// A clock that is wrong by so many hours.
#[derive(Debug, Default)]
struct Wrong(std::sync::atomic::AtomicI64);

impl Ambient for Wrong {
    fn now(&self) -> jiff::Timestamp {
        let by = jiff::SignedDuration::from_hours(self.0.load(Ordering::Relaxed));
        System.now() + by
    }

    fn random(&self) -> u64 {
        System.random()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_holds_up_no_retry() {
    let target = Target::start(|_| Reply::text(503, "")).await;
    let mut world = World::start().await;
    let clock = Arc::new(Wrong::default());
    clock.0.store(48, Ordering::Relaxed);
    world.ambient = clock.clone();
    let retry = "retry: {maxAttempts: 3, initialBackoff: 1s}";
    let definition = http_step(&format!("http://{}/", target.addr), retry);
    let execution = world.accept(&definition, "one", "").await;
    world.run();
    target.called(1).await;
    clock.0.store(0, Ordering::Relaxed);
    let facts = world.finished(&execution).await;
    assert_eq!(attempts(&facts), [(1, false), (2, false), (3, false)]);
}
