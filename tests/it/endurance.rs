//! Short forms of the long runs (`tests/endurance`).

use std::time::Duration;

use signalbox_tests::endurance::{descriptors, full, in_flight, kills, replicas};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_over_sns_is_executed_exactly_once_through_every_kill() {
    let report = kills::run(25, false).await;
    assert!(report.kills >= 25);
    assert!(report.settled.acknowledged > 100, "a real load: {report:?}");
    eprintln!("{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_of_many_steps_end_as_they_would_have_through_every_kill() {
    let report = in_flight::run(60, 12, false).await;
    assert!(
        report.executions >= 60 && report.fewest_in_flight > 0,
        "{report:?}"
    );
    eprintln!("{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_refuses_and_goes_on_when_there_is_room() {
    let report = full::run(Duration::from_secs(3), false).await;
    assert!(report.before_full > 0 && report.after > 0, "{report:?}");
    eprintln!("{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_nothing_acknowledged_is_lost() {
    let report = descriptors::run(Duration::from_secs(3), false).await;
    assert!(report.settled.acknowledged > 40, "{report:?}");
    eprintln!("{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_killed_databases_crashed_and_connections_cut_lose_nothing_and_make_nothing_twice()
{
    let plan = replicas::Plan {
        changes: 100,
        reports: 500,
    };
    let report = replicas::run(plan, false).await;
    assert!(
        report.replicas_killed > 0 && report.database_crashed > 0 && report.connections_ended > 0,
        "{report:?}"
    );
    eprintln!("{report:?}");
}
