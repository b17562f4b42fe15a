//! Runs by name=value, retries, and the next runs of schedules.

use crate::{
    api::Planes,
    support::{json, run_with_input},
};

const DEPLOY: &str = r#"
name: deploy
spec:
  trigger:
    manual:
      inputs:
        - {name: service, type: string, required: true}
        - {name: count, type: integer, default: 1}
        - {name: tags, type: array}
  steps:
    - {id: first, transform: {expression: event.json.count * 10}}
    - {id: second, transform: {expression: "event.json.tags[0] + event.json.service"}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn inputs_are_given_by_name_and_read_by_their_types() {
    let planes = Planes::start(None).await;
    let file = planes.file("deploy.yaml", DEPLOY);
    planes.ok(&["workflows", "apply", "-f", &file]).await;
    // The published version counts, not the latest.
    let newer = planes.file("newer.yaml", &DEPLOY.replace("count", "number"));
    planes
        .ok(&["workflows", "apply", "--no-publish", "-f", &newer])
        .await;
    let run = |inputs: &'static [&'static str]| {
        let planes = &planes;
        async move {
            let inputs = inputs.iter().flat_map(|input| ["--input", input]);
            let arguments: Vec<&str> = ["workflows", "run", "deploy", "--watch"]
                .into_iter()
                .chain(inputs)
                .collect();
            planes.run(&arguments).await
        }
    };
    let done = run(&["service=7", "count=2", r#"tags=["v"]"#]).await.ok();
    let id = done.lines().last().unwrap().split_whitespace().next();
    let shown = planes.json(&["executions", "get", id.unwrap()]).await;
    assert_eq!(shown["steps"][0]["outputJson"], "20");
    assert_eq!(shown["outputJson"], "\"v7\"");

    let wrong = run(&["servise=x", "count=two", "tags={}", "nothing"]).await;
    let wrong = wrong.fails(65);
    let lines: Vec<_> = wrong.lines().collect();
    assert_eq!(lines[0], "error: --input cannot be an input");
    for (line, expected) in lines[1..].iter().zip([
        "servise: is no input of this workflow; did you mean \"service\"?",
        "count: is two; expected an integer",
        "tags: is {}; expected an array",
        "\"nothing\" is not name=value",
    ]) {
        assert!(line.contains(expected), "{line}");
    }
    let missing = run(&["count=2"]).await.fails(65);
    assert!(
        missing.contains("input.service: is missing: expected a string"),
        "{missing}"
    );
    planes.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_followed_and_shows_what_it_kept() {
    let planes = Planes::start(None).await;
    let file = planes.file("deploy.yaml", DEPLOY);
    planes.ok(&["workflows", "apply", "-f", &file]).await;
    let failed = planes
        .run(&[
            "workflows",
            "run",
            "deploy",
            "--input",
            "service=x",
            "--watch",
        ])
        .await;
    assert_eq!(failed.code, 1, "{failed:?}");
    let last = failed.stdout.lines().last().unwrap();
    let id = last.split_whitespace().next().unwrap();

    let again = planes.run(&["executions", "retry", id, "--follow"]).await;
    assert_eq!(again.code, 1, "it fails as it did: {again:?}");
    let mended = DEPLOY.replace("event.json.tags[0] + ", "'it is ' + ");
    let mended = planes.file("mended.yaml", &mended);
    planes.ok(&["workflows", "apply", "-f", &mended]).await;
    let done = planes
        .ok(&["executions", "retry", id, "--version", "latest", "--follow"])
        .await;
    let new = done
        .lines()
        .last()
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap();
    let shown = planes.ok(&["executions", "get", new]).await;
    for expected in [
        "output     \"it is x\"",
        "step first  transform  SUCCEEDED, kept",
        "retry of   ",
    ] {
        assert!(shown.contains(expected), "{expected:?} in {shown}");
    }
    let shown = planes.ok(&["executions", "get", id]).await;
    assert_eq!(shown.matches("retried by ").count(), 2, "{shown}");

    let done = planes.run(&["executions", "retry", new]).await.fails(1);
    assert!(done.contains("it can be retried whole"), "{done}");
    let whole = planes
        .ok(&["executions", "retry", new, "--whole", "--version", "2"])
        .await;
    assert!(
        whole.starts_with("started projects/default/executions/"),
        "{whole}"
    );
    planes
        .run(&["executions", "retry", new, "--version", "zero"])
        .await
        .fails(2);
    planes.stop().await;
}

const DAILY: &str = "name: daily\nspec:\n  trigger: {schedule: {cron: '30 8 * * *', timeZone: Asia/Tokyo}}\n  steps: [{id: \
                     a, succeed: {}}]\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_next_runs_are_the_same_of_a_file_and_of_a_workflow() {
    let offline = run_with_input(
        &["workflows", "next", "-f", "-", "-o", "json"],
        DAILY.as_bytes(),
    );
    let offline = json(&offline.ok());
    let runs = offline.as_array().unwrap();
    assert_eq!(runs.len(), 10);
    for run in runs {
        let local = run["localTime"].as_str().unwrap();
        assert!(local.ends_with("T08:30:00+09:00[Asia/Tokyo]"), "{local}");
    }
    let planes = Planes::start(None).await;
    let file = planes.file("daily.yaml", DAILY);
    planes.ok(&["workflows", "apply", "-f", &file]).await;
    let online = planes.json(&["workflows", "next", "daily"]).await;
    assert_eq!(online, offline);
    let few = planes
        .ok(&["workflows", "next", "daily", "--count", "2"])
        .await;
    assert_eq!(few.lines().count(), 3, "{few}");
    let manual = planes.file("deploy.yaml", DEPLOY);
    let none = planes.run(&["workflows", "next", "-f", &manual]).await;
    assert!(none.fails(1).contains("is no schedule"));
    planes.run(&["workflows", "next"]).await.fails(2);
    planes.stop().await;
}
