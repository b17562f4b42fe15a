//! `slack` steps against a server that answers as Slack does.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    support::{Reply, Target, World, attempts, finished, output_of},
    *,
};

fn posting(fields: &str) -> String {
    format!(
        "trigger: {{manual: {{}}}}\nvars: {{token: xoxb-s3cret}}\nsteps:\n  - id: post\n    retry: {{maxAttempts: 3, initialBackoff: 0.01s, maxBackoff: 2s}}\n    slack: {{{fields}}}\n"
    )
}

fn by_method(target: &Target) -> String {
    let fields = "token: '${{ vars.token }}', channel: '#ops', text: 'n is ${{ event.json.n }}', blocks: [{type: section, text: {type: mrkdwn, text: '*${{ event.json.n }}*'}}]";
    posting(&format!("apiUrl: 'http://{}/api/', {fields}", target.addr))
}

fn ok() -> Reply {
    Reply::json(
        200,
        &json!({"ok": true, "channel": "C1", "ts": "1.5", "message": {}}),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_posted_by_the_method_once_slack_takes_it() {
    let seen = AtomicUsize::new(0);
    let target = Target::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(200, &json!({"ok": false, "error": "service_unavailable"})),
        1 => {
            let after = vec![("retry-after", "1".to_owned())];
            Reply::Whole(429, after, r#"{"ok":false,"error":"ratelimited"}"#.into())
        }
        _ => ok(),
    })
    .await;
    let mut world = World::start().await;
    let execution = world
        .accept(&by_method(&target), "one", r#"{"n": 7}"#)
        .await;
    world.run();
    let started = std::time::Instant::now();
    let facts = world.finished(&execution).await;
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "Retry-After was not honoured"
    );
    assert_eq!(
        output_of(&facts),
        json!({"ok": true, "channel": "C1", "ts": "1.5"})
    );
    assert_eq!(attempts(&facts).len(), 3);
    let calls = target.calls();
    for call in &calls {
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            ("POST", "/api/chat.postMessage")
        );
        assert_eq!(call.header("authorization"), "Bearer xoxb-s3cret");
        assert_eq!(
            call.header("content-type"),
            "application/json; charset=utf-8"
        );
        let body = call.json();
        assert_eq!(
            (&body["channel"], &body["text"]),
            (&json!("#ops"), &json!("n is 7"))
        );
        assert_eq!(body["blocks"][0]["text"]["text"], "*7*");
        assert_eq!(body["client_msg_id"], calls[0].json()["client_msg_id"]);
        assert_eq!(body["client_msg_id"].as_str().unwrap().len(), 36);
    }
    let records = format!("{:?}", world.records(&execution).await);
    assert!(!records.contains("s3cret"), "{records}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_after_a_crash_has_the_same_message_id() {
    let seen = AtomicUsize::new(0);
    let target = Target::start(move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Never,
        _ => ok(),
    })
    .await;
    let mut world = World::start().await;
    let execution = world
        .accept(&by_method(&target), "one", r#"{"n": 7}"#)
        .await;
    world.run();
    target.called(1).await;
    world.crash().await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(attempts(&facts), [(1, false), (1, true)]);
    let calls = target.calls();
    assert_eq!(
        calls[0].json()["client_msg_id"],
        calls[1].json()["client_msg_id"]
    );
    // Another execution's message is another one.
    let other = world
        .accept(&by_method(&target), "two", r#"{"n": 7}"#)
        .await;
    world.finished(&other).await;
    assert_ne!(
        calls[0].json()["client_msg_id"],
        target.calls()[2].json()["client_msg_id"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_posted_to_and_its_url_is_in_no_record() {
    let target = Target::start(|call| match call.path.as_str() {
        "/services/T0/B0/s3cret" => Reply::text(200, "ok"),
        "/services/T0/B0/s3cret-gone" => Reply::text(404, "no_service"),
        other => panic!("{other}"),
    })
    .await;
    let mut world = World::start().await;
    world.run();
    let hook = |more: &str| {
        let url = format!("http://{}/services/T0/B0/s3cret{more}", target.addr);
        posting(&format!("webhookUrl: '{url}', text: hi"))
    };
    let execution = world.accept(&hook(""), "one", "{}").await;
    let facts = world.finished(&execution).await;
    assert_eq!(
        output_of(&facts),
        json!({"ok": true, "channel": null, "ts": null})
    );
    assert_eq!(target.calls()[0].json(), json!({"text": "hi"}));
    let gone = world.accept(&hook("-gone"), "two", "{}").await;
    let facts = world.finished(&gone).await;
    let error = finished(&facts).1.unwrap().to_string();
    assert_eq!(
        error,
        "HTTP_STATUS: step \"post\": the server answered 404: no_service"
    );
    assert_eq!(attempts(&facts).len(), 1);
    for execution in [execution, gone] {
        let records = format!("{:?}", world.records(&execution).await);
        assert!(
            !records.contains("s3cret") && !records.contains("T0/B0"),
            "{records}"
        );
        assert!(
            records.contains(&format!("http://{}/***", target.addr)),
            "{records}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_do_not_pass_fail_at_once_unless_the_policy_names_them() {
    let target =
        Target::start(|_| Reply::json(200, &json!({"ok": false, "error": "channel_not_found"})))
            .await;
    let mut world = World::start().await;
    world.run();
    let definition = by_method(&target);
    let named = definition.replace("maxAttempts: 3", "maxAttempts: 2, retryOn: [SLACK_ERROR]");
    for (definition, count) in [(definition, 1), (named, 2)] {
        let execution = world.accept(&definition, "one", r#"{"n": 7}"#).await;
        let facts = world.finished(&execution).await;
        let error = finished(&facts).1.unwrap().to_string();
        assert_eq!(
            error,
            "SLACK_ERROR: step \"post\": Slack answered channel_not_found"
        );
        assert_eq!(attempts(&facts).len(), count);
    }
}
