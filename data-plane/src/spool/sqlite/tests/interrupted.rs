//! Executions that were under way when the process ended.

use tempfile::TempDir;

use super::*;

fn name(id: &str) -> ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

/// What the disk holds when the process that has `spool` open in `dir` is killed now: that one writes no more.
fn killed(spool: SqliteSpool, dir: &TempDir) -> TempDir {
    let left = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap();
        // SQLite makes the index of its log anew.
        if !file.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(file.path(), left.path().join(file.file_name())).unwrap();
        }
    }
    drop(spool);
    left
}

/// How often each of the executions was interrupted, by name.
async fn interruptions(spool: &SqliteSpool) -> BTreeMap<String, u32> {
    let claimed = spool.claim(10).await.unwrap();
    claimed
        .into_iter()
        .map(|claimed| {
            let id = claimed.accepted.execution.execution.to_string();
            (id, claimed.interruptions)
        })
        .collect()
}

fn expected<const N: usize>(all: [(&str, u32); N]) -> BTreeMap<String, u32> {
    all.map(|(id, times)| (id.to_owned(), times)).into()
}

fn attempt(id: &str, repeated: bool) -> Vec<Record> {
    let started = Fact::AttemptStarted {
        step: "call".parse().unwrap(),
        number: 1,
        repeated,
    };
    vec![fact(id, started)]
}

async fn repeat(spool: &SqliteSpool, id: &str) {
    let along = Along {
        only_repeats: true,
        ..Along::default()
    };
    spool
        .journal_along(name(id), attempt(id, true), false, along)
        .await
        .unwrap();
}

#[tokio::test]
async fn ends_of_the_process_are_counted_until_an_execution_goes_on() {
    let mut dir = tempfile::tempdir().unwrap();
    let mut spool = open(dir.path());
    for id in ["stuck", "going", "asleep"] {
        spool.accept(accept(id, 1)).await.unwrap();
    }
    for times in 0..4 {
        let found = interruptions(&spool).await;
        let all = expected([("stuck", times), ("going", times.min(1)), ("asleep", 0)]);
        assert_eq!(found, all);
        repeat(&spool, "stuck").await;
        // In the first of its lives it gets nowhere, either.
        if times > 0 {
            let facts = attempt("going", false);
            spool.journal(name("going"), facts, false).await.unwrap();
        }
        let due = Timestamp::now();
        spool.park(name("asleep"), due, 1_000).await.unwrap();
        let left = killed(spool, &dir);
        dir = left;
        spool = open(dir.path());
    }
    // Whoever is not claimed when the process ends is not interrupted.
    let left = killed(spool, &dir);
    dir = left;
    spool = open(dir.path());
    let all = expected([("stuck", 4), ("going", 1), ("asleep", 0)]);
    assert_eq!(interruptions(&spool).await, all);
    // Nor is one whose process ends as it should, whatever is under way.
    drop(spool);
    let spool = open(dir.path());
    assert_eq!(interruptions(&spool).await, all);
    spool
        .journal(name("stuck"), vec![finished("stuck")], true)
        .await
        .unwrap();
    let dir = killed(spool, &dir);
    let spool = open(dir.path());
    let all = expected([("going", 2), ("asleep", 1)]);
    assert_eq!(interruptions(&spool).await, all);
}

#[tokio::test]
async fn a_file_of_before_has_interrupted_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.accept(accept("a", 1)).await.unwrap();
    assert_eq!(interruptions(&spool).await, expected([("a", 0)]));
    let left = killed(spool, &dir);
    let connection = schema::connect(&left.path().join(look::FILE)).unwrap();
    connection.execute_batch("DROP TABLE interrupted").unwrap();
    drop(connection);
    let spool = open(left.path());
    assert_eq!(interruptions(&spool).await, expected([("a", 1)]));
}
