//! API keys over both planes: what they may be used for, their rotation, and when they were last used.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox_tests::{
    api::Api,
    cli::Cli,
    planes::{Options, Planes},
    wait,
};

const LIMIT: Duration = Duration::from_secs(20);
/// From a network of the key, and from elsewhere.
const NEAR: &str = "203.0.113.5";
const FAR: &str = "198.51.100.1";

fn spec(key: &str) -> String {
    format!("trigger: {{webhook: {{apiKeys: [{key}]}}}}\nsteps: [{{id: done, succeed: {{}}}}]\n")
}

/// The status, and the last segment of the problem's type, if it is one.
async fn post(url: &str, source: &str) -> (u16, String) {
    let answer = reqwest::Client::new()
        .post(url)
        .header("x-forwarded-for", source)
        // A sender's own word, which the proxy passes on.
        .header("forwarded", format!("for={FAR}, for={NEAR}"))
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    let kind = body["type"].as_str().unwrap_or_default();
    (status, kind.rsplit('/').next().unwrap().to_owned())
}

/// I8: a change of a key counts at the node within a second.
async fn becomes(url: &str, source: &str, status: u16) -> String {
    let start = Instant::now();
    loop {
        let (found, reason) = post(url, source).await;
        if found == status {
            return reason;
        }
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "still {found} {reason}, expected {status}"
        );
    }
}

async fn planes() -> (Planes, Api, Cli) {
    let options = Options {
        data_plane: [
            ["--trusted-proxy", "127.0.0.0/8"],
            ["--forwarded-header", "x-forwarded-for"],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect(),
        ..Options::default()
    };
    let (planes, api) = Planes::start(options).await;
    let cli = Cli::new(&planes.control, "admin");
    (planes, api, cli)
}

async fn create(cli: &Cli, arguments: &[&str]) -> String {
    let arguments = [&["keys", "create", "-o", "json"], arguments].concat();
    let created: Value = serde_json::from_str(&cli.ok(&arguments).await).unwrap();
    created["value"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_for_its_workflows_and_from_its_networks() {
    let (planes, api, cli) = planes().await;
    let arguments = ["narrow", "--workflow", "hook", "--source-network"];
    let narrow = create(&cli, &[&arguments[..], &["203.0.113.0/24"]].concat()).await;
    create(&cli, &["wide"]).await;
    api.create_workflow("hook", &spec("narrow")).await;
    api.create_workflow("other", &spec("wide")).await;
    api.synced(LIMIT).await;
    let (hook, other) = (
        planes.endpoint("hook", "webhook", &narrow),
        planes.endpoint("other", "webhook", &narrow),
    );
    assert_eq!(post(&hook, NEAR).await.0, 200);
    let (far, strange) = (
        (403, "source-not-allowed".to_owned()),
        (403, "key-not-allowed".to_owned()),
    );
    assert_eq!(post(&hook, FAR).await, far);
    assert_eq!(post(&other, NEAR).await, strange);
    let nowhere = planes.endpoint("nowhere", "webhook", &narrow);
    assert_eq!(post(&nowhere, NEAR).await, strange);
    assert_eq!(post(&nowhere, FAR).await, far);

    // Each refusal is told, with the address.
    for (workflow, reason, source) in [
        ("hook", "source-not-allowed", FAR),
        ("other", "key-not-allowed", NEAR),
    ] {
        wait::until(reason, LIMIT, || async {
            let list = ["deliveries", "list", workflow, "--rejected"];
            let listed = cli.ok(&list).await;
            match listed.contains(reason) && listed.contains(source) {
                true => Ok(()),
                false => Err(listed),
            }
        })
        .await;
    }

    // A workflow and a key that does not count for it do not come together, from either side.
    let refused = cli
        .run(&["keys", "update", "narrow", "--workflow", "other"])
        .await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("projects/default/workflows/hook"),
        "{refused:?}"
    );
    let file = planes.dir().join("other.yaml");
    let text = "name: other\nspec:\n  trigger: {webhook: {apiKeys: [narrow]}}\n  steps: [{id: done, succeed: {}}]\n";
    std::fs::write(&file, text).unwrap();
    let apply = ["workflows", "apply", "-f", file.to_str().unwrap()];
    let refused = cli.run(&apply).await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    assert!(
        refused.stderr.contains("its scope names others"),
        "{refused:?}"
    );

    // What is widened counts at once, and is shown.
    let widened = cli
        .ok(&[
            "keys",
            "update",
            "narrow",
            "--any-source",
            "--workflow",
            "hook,other",
        ])
        .await;
    assert!(widened.contains("hook, other"), "{widened}");
    becomes(&hook, FAR, 200).await;
    cli.ok(&apply).await;
    becomes(&other, FAR, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_before_works_for_the_overlap_and_revoking_ends_both() {
    let (planes, api, cli) = planes().await;
    let first = create(&cli, &["pager"]).await;
    api.create_workflow("hook", &spec("pager")).await;
    api.synced(LIMIT).await;
    let url = |value: &str| planes.endpoint("hook", "webhook", value);
    let rotate = async |overlap: &[&str]| {
        let arguments = [&["keys", "rotate", "pager", "-o", "json"], overlap].concat();
        serde_json::from_str::<Value>(&cli.ok(&arguments).await).unwrap()
    };
    let rotated = rotate(&["--overlap", "3s"]).await;
    let second = rotated["value"].as_str().unwrap().to_owned();
    assert!(second.starts_with("sbk_") && second != first);
    let until = rotated["apiKey"]["previousExpireTime"].as_str().unwrap();
    let until: jiff::Timestamp = until.parse().unwrap();
    becomes(&url(&second), NEAR, 200).await;
    // Both count, as long as there is no doubt about the clock.
    let answer = post(&url(&first), NEAR).await;
    if jiff::Timestamp::now() < until {
        assert_eq!(answer.0, 200, "{answer:?}");
    }
    assert_eq!(
        cli.ok(&["keys", "reveal", "pager"]).await.trim(),
        second.as_str()
    );
    wait::until("the overlap to end", LIMIT, || async {
        let asked = jiff::Timestamp::now();
        match post(&url(&first), NEAR).await {
            (401, reason) if reason == "key-rotated" => Ok(()),
            (200, _) if asked < until => Err("it counts".to_owned()),
            other => panic!("{other:?}"),
        }
    })
    .await;
    assert!(jiff::Timestamp::now() >= until);
    assert_eq!(post(&url(&second), NEAR).await.0, 200);

    // At once, and then with both values alive, revoked.
    let third = rotate(&["--now"]).await["value"]
        .as_str()
        .unwrap()
        .to_owned();
    becomes(&url(&second), NEAR, 401).await;
    let fourth = rotate(&[]).await["value"].as_str().unwrap().to_owned();
    becomes(&url(&fourth), NEAR, 200).await;
    assert_eq!(post(&url(&third), NEAR).await.0, 200);
    let again = cli.run(&["keys", "rotate", "pager"]).await;
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("without an overlap"), "{again:?}");
    cli.ok(&["keys", "revoke", "pager"]).await;
    for value in [&third, &fourth] {
        assert_eq!(becomes(&url(value), NEAR, 401).await, "key-revoked");
    }
    let log = planes.data.log() + &planes.control.log();
    for value in [&first, &second, &third, &fourth] {
        assert!(!log.contains(value.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_is_shown() {
    let (planes, api, cli) = planes().await;
    let value = create(&cli, &["pager"]).await;
    create(&cli, &["other"]).await;
    api.create_workflow("hook", &spec("pager")).await;
    api.synced(LIMIT).await;
    let get = async |key: &str| {
        let text = cli.ok(&["keys", "get", key, "-o", "json"]).await;
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let unused = get("pager").await;
    assert_eq!(unused.get("lastUsedTime"), None, "{unused}");
    let before = jiff::Timestamp::now();
    assert_eq!(
        post(&planes.endpoint("hook", "webhook", &value), NEAR)
            .await
            .0,
        200
    );
    let after = jiff::Timestamp::now();
    // Who is refused does not use it.
    let other = planes.endpoint("other", "webhook", &value);
    assert_eq!(post(&other, FAR).await.0, 404);
    let used = wait::until("the use to be shown", LIMIT, || async {
        let key = get("pager").await;
        match key.get("lastUsedTime") {
            Some(_) => Ok(key),
            None => Err(key.to_string()),
        }
    })
    .await;
    let time: jiff::Timestamp = used["lastUsedTime"].as_str().unwrap().parse().unwrap();
    assert!(before <= time && time <= after, "{used}");
    assert_eq!(used["lastUsedAddress"], NEAR);
    assert_eq!(used["etag"], unused["etag"], "it is no change");
    let listed = cli.ok(&["keys", "list"]).await;
    assert!(listed.contains(&format!("from {NEAR}")), "{listed}");
    assert_eq!(get("other").await.get("lastUsedTime"), None);
}
