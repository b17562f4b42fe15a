//! A store that has hardly any room: everything is executed all the same, piece by piece.

use std::ops::ControlFlow;

use signalbox_model::execution::{ExecutionState, Fact};

use super::{
    super::simulated::{self, Pace, Simulated, Turn},
    *,
};

/// Each body takes some ten pages of the store.
const BODY_BYTES: usize = 16 * 1024;
const MESSAGES: usize = 100;
/// What the store's file may have: room for a fraction of them.
const FILE_MAX: u64 = 1024 * 1024;
const KEPT_BYTES: u64 = 256 * 1024;

/// A disk whose store can grow so far.
struct Small {
    /// It says so, or that there is room without end.
    says: bool,
}

impl Pace for Small {
    fn wait(&self, _: Turn) -> BoxFuture<'static, ()> {
        tokio::time::sleep(Duration::from_millis(1)).boxed()
    }

    fn store_fails(&self) -> bool {
        false
    }

    fn store_max_bytes(&self) -> u64 {
        FILE_MAX
    }

    fn store_free(&self, file_bytes: u64) -> u64 {
        match self.says {
            true => FILE_MAX.saturating_sub(file_bytes),
            false => u64::MAX,
        }
    }

    fn after(&self, _: Turn) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Until it is done: the callers of a spool ask again when it is full.
async fn until_there_is_room<'a, T>(call: impl Fn() -> BoxFuture<'a, Result<T, SpoolError>>) -> T {
    loop {
        match call().await {
            Ok(done) => return done,
            Err(SpoolError::Full) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

fn record(execution: &ExecutionName, fact: Fact) -> Record {
    Record {
        time: Timestamp::now(),
        traceparent: None,
        body: RecordBody::Execution {
            execution: execution.clone(),
            fact,
        },
    }
}

/// Runs one: two facts, the second of which ends it.
async fn execute(spool: Arc<Simulated>, execution: ExecutionName) {
    let end = Fact::Finished {
        state: ExecutionState::Succeeded,
        output: None,
        error: None,
    };
    for (fact, ended) in [(Fact::Started, false), (end, true)] {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let records = vec![record(&execution, fact)];
        until_there_is_room(|| spool.journal(execution.clone(), records.clone(), ended)).await;
    }
}

async fn execute_all(spool: Arc<Simulated>) {
    loop {
        for claimed in until_there_is_room(|| spool.claim(8)).await {
            tokio::spawn(execute(spool.clone(), claimed.accepted.execution));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report_all(spool: Arc<Simulated>) {
    let mut reported = 0;
    loop {
        let records = spool.unreported(reported, 20, usize::MAX).await.unwrap();
        if let Some(last) = records.last() {
            reported = last.sequence;
            until_there_is_room(|| spool.trim(reported)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn all_is_executed(says: bool) {
    let place = Place::new();
    let config = IntakeSpoolConfig {
        kept_bytes: KEPT_BYTES,
        log: LogConfig {
            segment_bytes: 256 * 1024,
        },
        ..Place::config()
    };
    let pace: Arc<dyn Pace> = Arc::new(Small { says });
    let disk = Arc::new(place.disk.clone());
    let (spool, _tasks) = simulated::open(place.dir.path(), disk, &config, &pace).unwrap();
    let spool = Arc::new(spool);
    for n in 0..MESSAGES {
        let mut accept = accept(&format!("x{n}"), 1);
        accept.accepted.event.body = Bytes::from(vec![1; BODY_BYTES]);
        assert_eq!(spool.accept(accept).await, Ok(Acceptance::New));
    }
    tokio::time::sleep(Duration::from_secs(20)).await;
    let pending = spool.pending();
    assert!(pending > MESSAGES as u64 / 2, "{pending}");
    tokio::spawn(execute_all(spool.clone()));
    tokio::spawn(report_all(spool.clone()));
    // It takes about twenty.
    for _ in 0..90 {
        let stats = spool.stats();
        if stats.unfinished_executions + stats.unreported_records == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("{:?}, {} in the log", spool.stats(), spool.pending());
}

#[tokio::test(start_paused = true)]
async fn a_store_on_a_disk_that_is_nearly_full_takes_what_it_can_work_off() {
    all_is_executed(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_finds_less_room_than_its_disk_says_works_off_what_it_has_first() {
    all_is_executed(false).await;
}
