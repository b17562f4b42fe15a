//! Schedules: a tick is made once, whatever becomes of the control plane, and what it missed is seen to by the policy.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use signalbox_proto::v1::{
    DisableWorkflowRequest, EnableWorkflowRequest, Execution, ExecutionState,
    ListUpcomingRunsRequest, TriggerKind,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    target::Target,
    wait,
};
use tonic::Code;

/// As the control plane counts a tick as missed.
const GRACE: Duration = Duration::from_secs(5);

async fn ticks(api: &Api, workflow: &str) -> Vec<Execution> {
    let filter = format!("workflow == \"{workflow}\"");
    let mut all = api.all_executions(&filter).await.unwrap();
    all.sort_by_key(time);
    all
}

fn time(tick: &Execution) -> Timestamp {
    tick.message_id.parse().unwrap()
}

async fn until_ticks(api: &Api, workflow: &str, after: Timestamp, count: usize) -> Vec<Execution> {
    wait::until("the schedule's ticks", Duration::from_secs(30), || async {
        let all = ticks(api, workflow).await;
        let later = all.iter().filter(|tick| time(tick) > after);
        let done = later.filter(|tick| tick.state() == ExecutionState::Succeeded);
        match done.count() {
            found if found >= count => Ok(all),
            found => Err(format!("{found} of {count}")),
        }
    })
    .await
}

/// The ticks between which there are seconds without one.
fn gaps(all: &[Execution]) -> Vec<(Timestamp, Timestamp)> {
    let pairs = all.windows(2).map(|pair| (time(&pair[0]), time(&pair[1])));
    pairs
        .filter(|(one, next)| next.duration_since(*one).as_secs() > 1)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_makes_no_tick_twice_and_heeds_the_policy() {
    let target = Target::start(|_, _| 200).await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let policies = [
        ("skips", "MISFIRE_POLICY_SKIP"),
        ("once", "MISFIRE_POLICY_RUN_ONCE"),
        ("some", "MISFIRE_POLICY_RUN_ALL\n    misfireMax: 3"),
    ];
    for (id, policy) in policies {
        let spec = format!(
            r#"
trigger:
  schedule:
    rate: 1s
    misfire: {policy}
    input: {{n: 7}}
steps:
  - id: call
    http:
      url: http://{}/{id}
      json: {{at: "${{{{ event.timestamp }}}}", n: "${{{{ event.json.n }}}}"}}
"#,
            target.addr
        );
        api.create_workflow(id, &spec).await;
    }
    for (id, _) in policies {
        let all = until_ticks(&api, id, Timestamp::MIN, 3).await;
        assert!(gaps(&all).is_empty(), "{:?}", gaps(&all));
        assert!(
            all.iter()
                .all(|tick| tick.trigger() == TriggerKind::Schedule)
        );
    }

    planes.control.kill();
    tokio::time::sleep(Duration::from_secs(13)).await;
    let restart = Timestamp::now();
    planes.control.start().await;
    let api = planes.api("admin");
    let started = Timestamp::now();
    for (id, kept) in [("skips", 0), ("once", 1), ("some", 3)] {
        let all = until_ticks(&api, id, started, 2).await;
        let gaps = gaps(&all);
        let [(_, found)] = gaps[..] else {
            panic!("{id}: {gaps:?}");
        };
        // It looked at its schedules somewhere between.
        let earliest = restart.checked_sub(GRACE).unwrap();
        let earliest = earliest.checked_sub(Duration::from_secs(kept)).unwrap();
        let latest = started.checked_sub(GRACE).unwrap();
        let latest = latest.checked_sub(Duration::from_secs(kept)).unwrap();
        let latest = latest.checked_add(Duration::from_secs(1)).unwrap();
        assert!(
            found >= earliest && found <= latest,
            "{id}: {found}, restarted at {restart}"
        );
    }

    // Nothing was done twice, and each was told its time.
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for call in target.calls() {
        let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(body["n"], 7);
        let at = body["at"].as_str().unwrap().to_owned();
        *seen.entry((call.target, at)).or_default() += 1;
    }
    assert!(seen.values().all(|count| *count == 1), "{seen:?}");

    // While it is disabled it does not tick, and that is not made up for.
    let name = "projects/default/workflows/some".to_owned();
    let disable = DisableWorkflowRequest {
        name: name.clone(),
        ..DisableWorkflowRequest::default()
    };
    api.workflows().disable_workflow(disable).await.unwrap();
    let before = ticks(&api, "some").await.len();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(ticks(&api, "some").await.len(), before);
    let enabled = Timestamp::now();
    let enable = EnableWorkflowRequest {
        name,
        ..EnableWorkflowRequest::default()
    };
    api.workflows().enable_workflow(enable).await.unwrap();
    let all = until_ticks(&api, "some", enabled, 2).await;
    assert!(time(&all[before]) >= enabled, "{}", all[before].message_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_runs_are_shown() {
    let (planes, api) = Planes::start(Options::default()).await;
    let spec = |trigger: &str| {
        format!("trigger: {trigger}\nsteps: [{{id: a, transform: {{expression: '1'}}}}]\n")
    };
    let daily = spec("{schedule: {cron: '30 2 * * *', timeZone: Europe/Berlin}}");
    api.create_workflow("daily", &daily).await;
    api.create_workflow("plain", &spec("{manual: {}}")).await;
    let list = async |api: &Api, workflow: &str, count, after: Option<&str>| {
        let after = after.map(|text| text.parse::<Timestamp>().unwrap());
        let request = ListUpcomingRunsRequest {
            name: format!("projects/default/workflows/{workflow}"),
            count,
            after: after.map(signalbox_proto::convert::time::to_wire),
        };
        let answer = api.workflows().list_upcoming_runs(request).await?;
        Ok::<_, tonic::Status>(answer.into_inner())
    };
    let viewer = planes.api("viewer");
    assert_eq!(
        list(&viewer, "daily", 0, None).await.unwrap().runs.len(),
        10
    );
    let found = list(&viewer, "daily", 2, Some("2026-03-28T12:00:00Z")).await;
    let found: Vec<_> = found
        .unwrap()
        .runs
        .into_iter()
        .map(|run| run.local_time)
        .collect();
    assert_eq!(
        found,
        [
            "2026-03-29T03:30:00+02:00[Europe/Berlin]",
            "2026-03-30T02:30:00+02:00[Europe/Berlin]"
        ]
    );
    let refused = list(&viewer, "plain", 1, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refused = list(&viewer, "daily", 1001, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
