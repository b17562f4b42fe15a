//! Files of earlier versions.

use rusqlite::params;

use super::{
    super::upgrade::{PORTION, begin, copy_some},
    *,
};

/// The tables of version 1, as it made them.
const VERSION_1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    execution TEXT,
    body BLOB
) STRICT;
CREATE INDEX log_of_execution ON log (execution, seq) WHERE kind = 0;
CREATE TABLE executions (
    name TEXT PRIMARY KEY,
    content_digest BLOB NOT NULL,
    deduplicate_until_us INTEGER NOT NULL,
    accepted_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0,
    definition BLOB NOT NULL,
    record BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_unfinished ON executions (claimed, accepted_seq) WHERE ended = 0;
CREATE INDEX executions_to_strip ON executions (last_seq) WHERE ended = 1 AND record IS NOT NULL;
CREATE INDEX executions_to_purge ON executions (deduplicate_until_us) WHERE ended = 1 AND record IS NULL;
CREATE TABLE definitions (digest BLOB PRIMARY KEY, source BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE certificates (sha256 TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE handshakes (
    workflow TEXT NOT NULL,
    topic_arn TEXT NOT NULL,
    token TEXT NOT NULL,
    certificate_origin TEXT NOT NULL,
    received_at_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    next_attempt_at_us INTEGER,
    PRIMARY KEY (workflow, topic_arn, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX handshakes_due ON handshakes (next_attempt_at_us) WHERE next_attempt_at_us IS NOT NULL;
INSERT INTO meta VALUES ('incarnation', 'theold'), ('reported', '0'), ('intake', ''), ('drained', '0');
PRAGMA user_version = 1;
";

/// What version 2 made of them.
const VERSION_2: &str = "
ALTER TABLE executions ADD COLUMN workflow TEXT NOT NULL DEFAULT '';
DROP INDEX executions_unfinished;
CREATE INDEX executions_open ON executions (claimed, workflow, accepted_seq) WHERE ended = 0;
ALTER TABLE executions ADD COLUMN due_us INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_parked ON executions (due_us) WHERE ended = 0 AND claimed = 2;
PRAGMA user_version = 2;
";

/// Entries of executions that have ended and are reported: more than two portions.
const ENDED: i64 = 2 * PORTION + 100;

/// Microseconds since the Unix epoch, in thousands of years.
const FAR_US: i64 = 200_000_000_000_000_000;

/// A file of an earlier version.
struct Old(Connection);

impl Old {
    fn new(dir: &Path, version: i64) -> Self {
        let connection = Connection::open(dir.join("spool.sqlite")).unwrap();
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .unwrap();
        connection.execute_batch(VERSION_1).unwrap();
        if version == 2 {
            connection.execute_batch(VERSION_2).unwrap();
        }
        let definition = blake3::hash(b"definition");
        let insert = "INSERT INTO definitions VALUES (?1, CAST('definition' AS BLOB))";
        connection.execute(insert, [definition.as_bytes()]).unwrap();
        Self(connection)
    }

    fn log(&self, kind: i64, execution: Option<&str>, body: Option<&Record>) -> i64 {
        let body = body.map(|record| serde_json::to_vec(record).unwrap());
        let insert = "INSERT INTO log (kind, execution, body) VALUES (?1, ?2, ?3)";
        self.0
            .execute(insert, params![kind, execution, body])
            .unwrap();
        self.0.last_insert_rowid()
    }

    fn accept(&self, id: &str) -> String {
        let accept = accept(id, 1);
        let record = Record {
            time: accept.accepted.event.received_at,
            traceparent: None,
            body: RecordBody::Accepted(Box::new(accept.accepted.clone())),
        };
        let name = accept.accepted.execution.to_string();
        let sequence = self.log(1, Some(&name), None);
        self.0
            .execute(
                "INSERT INTO executions (name, content_digest, deduplicate_until_us, accepted_seq, last_seq,
                 definition, record) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6)",
                params![
                    name,
                    accept.content_digest,
                    accept.deduplicate_until.as_microsecond(),
                    sequence,
                    accept.definition.digest,
                    serde_json::to_vec(&record).unwrap()
                ],
            )
            .unwrap();
        self.set(&name, "claimed = 0");
        name
    }

    fn set(&self, name: &str, what: &str) {
        let sql = format!("UPDATE executions SET {what} WHERE name = ?1");
        assert_eq!(self.0.execute(&sql, [name]).unwrap(), 1);
    }

    fn started(&self, id: &str, name: &str) -> i64 {
        self.log(0, Some(name), Some(&fact(id, Fact::Started)))
    }

    fn ended(&self, id: &str, name: &str) -> i64 {
        let last = self.log(0, Some(name), Some(&finished(id)));
        self.set(name, &format!("claimed = 1, ended = 1, last_seq = {last}"));
        last
    }

    /// Of each state one, and many that are done with. Gives what was reported.
    fn fill(&self, version: i64) -> i64 {
        self.accept("reported-waiting");
        let name = self.accept("reported-running");
        self.started("reported-running", &name);
        self.set(&name, "claimed = 1");
        let reported = self.log(2, None, Some(&fact("other", Fact::Started)));
        self.0
            .execute_batch(&format!(
                "DELETE FROM log WHERE kind <> 0;
                 UPDATE meta SET value = '{reported}' WHERE key = 'reported';
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ENDED})
                 INSERT INTO executions (name, content_digest, deduplicate_until_us, accepted_seq, last_seq, ended,
                 definition) SELECT 'projects/default/executions/done' || i, x'01', {}, -i, -i, 1, x'00' FROM n;",
                i64::MAX / 2
            ))
            .unwrap();
        self.accept("waiting");
        let name = self.accept("running");
        self.started("running", &name);
        self.set(&name, "claimed = 1");
        if version == 2 {
            for (id, due_us) in [("parked", FAR_US), ("due", 1)] {
                let name = self.accept(id);
                self.started(id, &name);
                self.set(&name, &format!("claimed = 2, due_us = {due_us}"));
            }
            let workflow = "UPDATE executions SET workflow = 'projects/default/workflows/w'";
            self.0.execute(workflow, []).unwrap();
        }
        let name = self.accept("ended");
        self.started("ended", &name);
        self.ended("ended", &name);
        self.log(2, None, Some(&fact("other", Fact::Started)));
        reported
    }
}

/// Ids of executions, sorted, with the lengths of their journals.
async fn claim(spool: &SqliteSpool) -> Vec<(String, usize)> {
    let mut claimed: Vec<_> = spool
        .claim(100)
        .await
        .unwrap()
        .into_iter()
        .map(|claimed| {
            assert_eq!(claimed.definition.as_ref(), b"definition");
            let id = claimed.accepted.execution.execution.to_string();
            (id, claimed.journal.len())
        })
        .collect();
    claimed.sort();
    claimed
}

fn look_of(dir: &Path) -> look::Look {
    match look(dir) {
        Ok(Found::Store(look)) => look,
        other => panic!("{other:?}"),
    }
}

/// Whatever was in a file of an earlier version is there.
async fn check(dir: &Path, version: i64, reported: i64) {
    let parked = u64::try_from(version - 1).unwrap() * 2;
    assert_eq!(look_of(dir).unfinished, 4 + parked);
    let spool = open(dir);
    assert_eq!(spool.incarnation(), "theold");
    let look = look_of(dir);
    assert_eq!(
        (look.unfinished, look.complaints),
        (4 + parked, Vec::<String>::new())
    );
    let stats = spool.stats();
    assert_eq!(stats.unfinished_executions, 4 + parked);
    assert_eq!(stats.parked_executions, parked);

    // What is reported goes on as it would have: nothing twice, nothing left out.
    let after = u64::try_from(reported).unwrap();
    let records = spool.unreported(after, 100, usize::MAX).await.unwrap();
    let sequences: Vec<u64> = records.iter().map(|record| record.sequence).collect();
    let head = *spool.head().borrow();
    assert_eq!(sequences, (after + 1..=head).collect::<Vec<_>>());
    assert_eq!(stats.unreported_records, head - after);
    let accepted =
        |record: &&SequencedRecord| matches!(record.record.body, RecordBody::Accepted(_));
    assert_eq!(
        records.iter().filter(accepted).count() as u64,
        3 + parked,
        "{records:?}"
    );

    let mut expected = vec![
        ("reported-running", 1),
        ("reported-waiting", 0),
        ("running", 1),
        ("waiting", 0),
    ];
    if version == 2 {
        expected.insert(0, ("due", 1));
    }
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, facts)| ((*id).to_owned(), *facts))
        .collect();
    assert_eq!(claim(&spool).await, expected);
    if version == 2 {
        let name = "projects/default/executions/parked".parse().unwrap();
        spool.wake(&name).await.unwrap();
        assert_eq!(claim(&spool).await, [("parked".to_owned(), 1)]);
    }

    // Copies are known, whatever has become of the first.
    for id in ["waiting", "ended", "reported-running"] {
        assert_eq!(spool.accept(accept(id, 1)).await, Ok(Acceptance::Duplicate));
        assert_eq!(spool.accept(accept(id, 2)).await, Ok(Acceptance::Conflict));
    }
    let done = accept(&format!("done{ENDED}"), 1);
    assert_eq!(spool.accept(done).await, Ok(Acceptance::Conflict));

    // All end, and nothing stays but the deduplication entries.
    let mut all: Vec<_> = expected.iter().map(|(id, _)| id.as_str()).collect();
    all.extend((version == 2).then_some("parked"));
    for id in all {
        let name = format!("projects/default/executions/{id}").parse().unwrap();
        spool.journal(name, vec![finished(id)], true).await.unwrap();
    }
    assert_eq!(spool.accept(accept("new", 1)).await, Ok(Acceptance::New));
    assert_eq!(claim(&spool).await, [("new".to_owned(), 0)]);
    let name = "projects/default/executions/new".parse().unwrap();
    spool
        .journal(name, vec![finished("new")], true)
        .await
        .unwrap();
    let head = *spool.head().borrow();
    spool.trim(head).await.unwrap();
    let stats = spool.stats();
    assert_eq!(stats.used_bytes, 0, "what is done is no work");
    assert!(stats.remembered_bytes > 0);
    drop(spool);
    let connection = Connection::open(dir.join("spool.sqlite")).unwrap();
    let count = |of: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {of}");
        connection.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((count("log"), count("executions")), (0, 0));
    let entries = ENDED + 6 + i64::try_from(parked).unwrap();
    // The new one is in the tables of this version.
    assert_eq!(
        (count("names"), count("forgettable")),
        (entries - 1, entries - 1)
    );
    assert_eq!((count("entries"), count("entries_over")), (1, 1));
    assert_eq!(count("sqlite_schema WHERE name LIKE 'old%'"), 0);
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_brought_to_this_one_with_all_that_is_in_it() {
    for version in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let reported = Old::new(dir.path(), version).fill(version);
        check(dir.path(), version, reported).await;
    }
}

#[tokio::test]
async fn what_a_crash_cut_is_gone_on_with() {
    // Within the executions, between the two, within the log; each time the program is started anew.
    for portions in [0, 1, 2, 3, 4] {
        let dir = tempfile::tempdir().unwrap();
        let old = Old::new(dir.path(), 2);
        let reported = old.fill(2);
        drop(old);
        let mut connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
        begin(&mut connection, 2).unwrap();
        for _ in 0..portions {
            copy_some(&mut connection).unwrap();
        }
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        assert_eq!(version, 3, "an earlier program does not open it");
        drop(connection);
        check(dir.path(), 2, reported).await;
    }
}

#[tokio::test]
async fn a_file_of_version_3_keeps_its_entries_until_their_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let old = Old::new(dir.path(), 2);
    let reported = old.fill(2);
    drop(old);
    let mut connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    begin(&mut connection, 2).unwrap();
    while copy_some(&mut connection).unwrap() > 0 {}
    connection
        .execute_batch("DROP TABLE old_log; DROP TABLE old_executions;")
        .unwrap();
    drop(connection);
    check(dir.path(), 2, reported).await;

    // Years later.
    let connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    for table in ["forgettable", "entries_over"] {
        let over = format!("UPDATE {table} SET deduplicate_until_us = 1");
        connection.execute(&over, []).unwrap();
    }
    drop(connection);
    let config = SqliteSpoolConfig {
        purge_interval: Duration::from_millis(1),
        ..SqliteSpoolConfig::default()
    };
    let spool = SqliteSpool::open(dir.path(), config).unwrap();
    let connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    let is_empty = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
        count == 0
    };
    let tables = ["names", "forgettable", "entries", "entries_over"];
    let forgotten = async {
        while !tables.iter().all(|table| is_empty(table)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, forgotten).await.unwrap();
    assert_eq!(spool.accept(accept("ended", 2)).await, Ok(Acceptance::New));
}
