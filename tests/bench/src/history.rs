//! `history`: lists and reports at a million executions beside the same at none.
//!
//! The control plane as released over its own database, SQLite or PostgreSQL. The history is written into the tables by one
//! statement for each, since reporting it would take hours; what is measured goes through the API: ListExecutions by each of
//! its fields, and the Report stream as a node speaks it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection};
use serde::Serialize;
use signalbox_proto::{
    dataplane::v1::{
        Accepted, AttemptStarted, ExecutionFact, ExecutionFinished, ExecutionStarted, Record,
        RecordBatch, ReportHello, ReportRequest, StepFinished, StepStarted, execution_fact::Fact,
        record::Body, report_request::Message, report_service_client::ReportServiceClient,
    },
    v1::{ExecutionState, ListExecutionsRequest, StepState, TriggerKind},
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, transport::Endpoint};

use crate::{
    corpus::TOPIC,
    ingest::{SMALL_BYTES, corpus, ground},
    machine::Machine,
    output,
    results::Bar,
};

/// Executions of one statement.
const FILL_MAX: u64 = 250_000;
/// Workflows, topics and keys that the history is spread over.
const SPREAD: u64 = 100;
/// Of so many executions one has failed.
const FAILED_OF: u64 = 50;
/// Executions of one batch of a report, each of six records.
const BATCH: u64 = 100;
/// Batches on their way.
const WINDOW: usize = 4;
/// p99 of a list may take so long, in milliseconds.
const LIST_MAX_MS: f64 = 20.0;
/// The rate of reports at the full history over that at none, at least.
const RATE_KEPT: f64 = 0.9;

/// What `history` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Executions of the history.
    #[arg(long, default_value_t = 1_000_000)]
    executions: u64,
    /// Executions that are reported each time.
    #[arg(long, default_value_t = 20_000)]
    reported: u64,
    /// Lists of each kind.
    #[arg(long, default_value_t = 500)]
    lists: u64,
    /// Database instead of SQLite; empty, and not used by anybody: postgres://…
    #[arg(long)]
    database_url: Option<String>,
}

/// Lists by one field.
#[derive(Clone, Debug, Serialize)]
struct Lists {
    by: &'static str,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    /// Executions of the first page; so that nobody measures empty answers.
    rows: usize,
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    database: &'static str,
    executions: u64,
    filled_s: f64,
    lists: Vec<Lists>,
    /// Executions reported each second, with nothing there.
    reports_before_per_s: f64,
    /// The same on top of the history.
    reports_after_per_s: f64,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: HistoryArgs, out: &output::Out) -> Result<()> {
    let started_at = Timestamp::now().to_string();
    let ground = ground(&out.dir).await?;
    let corpus = corpus(&ground, SMALL_BYTES, 4096)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let mut options = Options {
        dir_in: Some(ground.dir.clone()),
        ..Options::default()
    };
    if let Some(url) = &args.database_url {
        options.control_plane = vec!["--database-url".into(), url.clone()];
    }
    let mut planes = Planes::new(options);
    planes.control.start().await;
    let url = args.database_url.clone().unwrap_or_else(|| {
        let file = planes.control.data_dir.join("control-plane.sqlite");
        format!("sqlite://{}?mode=rw", file.display())
    });
    let database = if args.database_url.is_some() {
        "PostgreSQL"
    } else {
        "SQLite"
    };
    let mut reporter = Reporter::connect(&planes).await?;
    // Once for what is slow only the first time.
    reporter.report(args.reported / 4).await?;
    let reports_before_per_s = reporter.report(args.reported).await?;
    println!("{reports_before_per_s:.0} executions/s are reported, with none there");

    let filling = Instant::now();
    let mut connect = ConnectOptions::new(url);
    connect.max_connections(1).sqlx_logging(false);
    let db = Database::connect(connect).await?;
    fill(&db, args.executions).await?;
    db.execute_unprepared("ANALYZE").await?;
    db.close().await?;
    let filled_s = filling.elapsed().as_secs_f64();
    println!("{} executions written in {filled_s:.0} s", args.executions);

    let lists = lists(&planes.api("viewer"), args.executions, args.lists).await?;
    let reports_after_per_s = reporter.report(args.reported).await?;
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        database,
        executions: args.executions,
        filled_s,
        bars: bars(&lists, reports_before_per_s, reports_after_per_s),
        lists,
        reports_before_per_s,
        reports_after_per_s,
    };
    let text = text(&found);
    println!("\n{text}");
    out.json("history", &found)?;
    out.markdown("history", &text)
}

fn bars(lists: &[Lists], before: f64, after: f64) -> Vec<Bar> {
    let slowest = lists.iter().map(|list| list.p99_ms).fold(0.0, f64::max);
    vec![
        Bar::new(
            "p99 of each list less than 20 ms",
            format!("{slowest:.1} ms"),
            slowest < LIST_MAX_MS,
        ),
        Bar::new(
            "executions reported each second with the history there at least 0.9 of those with none",
            format!("{:.2}", after / before),
            after >= before * RATE_KEPT,
        ),
    ]
}

fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}, {}, {} executions.\n\n{}\n\n| lists of 50, by | p50 | p99 | longest | rows |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        found.database,
        found.executions,
        output::machine(&found.machine)
    );
    for list in &found.lists {
        text.push_str(&format!(
            "| {} | {:.2} ms | {:.2} ms | {:.2} ms | {} |\n",
            list.by, list.p50_ms, list.p99_ms, list.max_ms, list.rows
        ));
    }
    text.push_str(&format!(
        "\n- executions of one step that are reported and durable: {:.0}/s with none there, {:.0}/s on top of the history\n\n",
        found.reports_before_per_s, found.reports_after_per_s
    ));
    text.push_str(&output::bars(&found.bars));
    text
}

/// Executions of one step, with their events and steps, the first of them a month ago, one a second.
async fn fill(db: &DatabaseConnection, count: u64) -> Result<()> {
    let first_us = Timestamp::now().as_microsecond() - 2_592_000_000_000;
    for from in (0..count).step_by(usize::try_from(FILL_MAX)?) {
        let until = (from + FILL_MAX).min(count);
        for insert in inserts(first_us) {
            let numbers = format!(
                "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {until}) "
            );
            // Where the rows come from stands after what they go into, in both databases.
            let sql = insert.replacen("SELECT", &format!("{numbers}SELECT"), 1);
            db.execute_unprepared(&sql)
                .await
                .with_context(|| sql.clone())?;
        }
        println!("{until:>9} executions written");
    }
    Ok(())
}

fn inserts(first_us: i64) -> [String; 3] {
    // Ids in no order, as they are: digests.
    let id = "'h' || CAST((i * 2654435761) % 4294967296 AS TEXT) || '-' || CAST(i AS TEXT)";
    let time = format!("{first_us} + CAST(i AS BIGINT) * 1000000");
    let failed = format!("i % {FAILED_OF} = 0");
    [
        format!(
            "INSERT INTO executions (project, id, workflow, version, state, trigger_kind, message_id, topic_arn, \
             is_unsigned, api_key, node, create_time_us, start_time_us, end_time_us, output_json, trace_id, history) \
             SELECT 'default', {id}, 'w' || CAST(i % {SPREAD} AS TEXT), 1, \
             CASE WHEN {failed} THEN 'FAILED' ELSE 'SUCCEEDED' END, 'AMAZON_SNS', 'm' || CAST(i AS TEXT), \
             '{TOPIC}' || CAST(i % {SPREAD} AS TEXT), FALSE, 'k' || CAST(i % {SPREAD} AS TEXT), 'filled', {time}, \
             {time} + 1000, {time} + 2000, '{{\"ok\":true}}', '0af7651916cd43dd8448eb211c80319c', 0 FROM n"
        ),
        format!(
            "INSERT INTO events (project, execution, body, receive_time_us, scope_json) \
             SELECT 'default', {id}, CAST('{{\"Message\":\"it is what it is\"}}' AS {BLOB}), {time}, \
             '{{\"message\":\"it is what it is\"}}' FROM n"
        ),
        format!(
            "INSERT INTO step_runs (project, execution, step, position, kind, state, input_json, output_json, \
             start_time_us, end_time_us) SELECT 'default', {id}, 'done', 0, 'succeed', \
             CASE WHEN {failed} THEN 'FAILED' ELSE 'SUCCEEDED' END, '{{}}', '{{\"ok\":true}}', {time} + 1000, \
             {time} + 2000 FROM n"
        ),
    ]
}

/// What a blob is made of by a cast: SQLite takes any name that is not one of a number, PostgreSQL only its own.
const BLOB: &str = "BYTEA";

/// The filter of each list, by its number.
type Filter = Box<dyn Fn(u64) -> String>;

async fn lists(api: &Api, executions: u64, lists: u64) -> Result<Vec<Lists>> {
    let first = format!(
        "timestamp(\"{}\")",
        Timestamp::now() - jiff::SignedDuration::from_hours(29 * 24)
    );
    let kinds: [(&'static str, Filter); 8] = [
        ("nothing: the newest", Box::new(|_| String::new())),
        (
            "workflow",
            Box::new(|n| format!("workflow == \"w{}\"", n % SPREAD)),
        ),
        ("state", Box::new(|_| "state == \"FAILED\"".to_owned())),
        (
            "workflow and state",
            Box::new(|n| format!("workflow == \"w{}\" && state == \"FAILED\"", n % SPREAD)),
        ),
        ("time", Box::new(move |_| format!("create_time < {first}"))),
        (
            "topic",
            Box::new(|n| format!("topic_arn == \"{TOPIC}{}\"", n % SPREAD)),
        ),
        (
            "message id",
            Box::new(move |n| format!("message_id == \"m{}\"", n.wrapping_mul(7919) % executions)),
        ),
        (
            "key",
            Box::new(|n| format!("api_key == \"k{}\"", n % SPREAD)),
        ),
    ];
    let mut found = Vec::new();
    for (by, filter) in kinds {
        let mut times = Histogram::<u64>::new(3)?;
        let mut rows = 0;
        for n in 0..lists {
            let request = ListExecutionsRequest {
                parent: "projects/default".to_owned(),
                filter: filter(n),
                ..Default::default()
            };
            let started = Instant::now();
            let page = api
                .executions()
                .list_executions(request)
                .await?
                .into_inner();
            times.record(u64::try_from(started.elapsed().as_micros())?)?;
            rows = rows.max(page.executions.len());
        }
        let ms = |us: u64| us as f64 / 1e3;
        let lists = Lists {
            by,
            p50_ms: ms(times.value_at_quantile(0.5)),
            p99_ms: ms(times.value_at_quantile(0.99)),
            max_ms: ms(times.max()),
            rows,
        };
        println!(
            "by {by}: p50 {:.2} ms, p99 {:.2} ms",
            lists.p50_ms, lists.p99_ms
        );
        ensure!(rows > 0, "there is nothing by {by}");
        found.push(lists);
    }
    Ok(found)
}

/// A node that reports.
struct Reporter {
    batches: mpsc::Sender<ReportRequest>,
    answers: tonic::Streaming<signalbox_proto::dataplane::v1::ReportResponse>,
    sequence: i64,
    executions: u64,
}

impl Reporter {
    async fn connect(planes: &Planes) -> Result<Self> {
        let channel = Endpoint::from_shared(planes.control.endpoint.clone())?
            .connect()
            .await?;
        let token = planes.control.token("data-plane");
        let (batches, outgoing) = mpsc::channel(WINDOW);
        let hello = ReportHello {
            node_id: "bench".to_owned(),
            incarnation: "bench".to_owned(),
        };
        batches
            .send(ReportRequest {
                message: Some(Message::Hello(hello)),
            })
            .await?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let bearer = format!("Bearer {token}").parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let mut answers = ReportServiceClient::new(channel)
            .report(request)
            .await?
            .into_inner();
        answers.message().await?.context("no answer to the hello")?;
        Ok(Self {
            batches,
            answers,
            sequence: 0,
            executions: 0,
        })
    }

    /// Executions each second, until the last of `count` is durable.
    async fn report(&mut self, count: u64) -> Result<f64> {
        let first = self.executions;
        let mut batches = Vec::new();
        let mut sequence = self.sequence;
        for from in (first..first + count).step_by(usize::try_from(BATCH)?) {
            let until = (from + BATCH).min(first + count);
            let mut records = Vec::new();
            for number in from..until {
                records.extend(records_of(number, &mut sequence));
            }
            batches.push(ReportRequest {
                message: Some(Message::Batch(RecordBatch { records })),
            });
        }
        let started = Instant::now();
        let sender = self.batches.clone();
        let sending = tokio::spawn(async move {
            for batch in batches {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        while self.sequence < sequence {
            let answer = tokio::time::timeout(Duration::from_secs(120), self.answers.message());
            self.sequence = answer.await??.context("the stream ended")?.durable_sequence;
        }
        sending.await?;
        self.executions += count;
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }
}

/// An execution of one step, from its acceptance to its end.
fn records_of(number: u64, sequence: &mut i64) -> Vec<Record> {
    let now = Timestamp::now();
    let time = prost_types::Timestamp {
        seconds: now.as_second(),
        nanos: now.subsec_nanosecond(),
    };
    let execution = format!("projects/default/executions/r{number}");
    let accepted = Accepted {
        execution: execution.clone(),
        workflow: format!("projects/default/workflows/w{}", number % SPREAD),
        workflow_version: 1,
        trigger: TriggerKind::AmazonSns.into(),
        message_id: format!("r{number}"),
        topic_arn: TOPIC.to_owned(),
        api_key: "projects/default/apiKeys/bench".to_owned(),
        body: vec![b' '; SMALL_BYTES].into(),
        scope_json: serde_json::json!({
            "message": "it is what it is",
            "attributes": BTreeMap::<String, String>::new(),
            "messageId": format!("r{number}"),
            "timestamp": "2026-11-26T12:00:00Z",
        })
        .to_string(),
        receive_time: Some(time),
        ..Default::default()
    };
    let step_id = "done".to_owned();
    let facts = [
        Fact::Started(ExecutionStarted {}),
        Fact::StepStarted(StepStarted {
            step_id: step_id.clone(),
            kind: "http".to_owned(),
            input_json: "{\"url\":\"https://example.com/\"}".to_owned(),
            ..Default::default()
        }),
        Fact::AttemptStarted(AttemptStarted {
            step_id: step_id.clone(),
            number: 1,
            ..Default::default()
        }),
        Fact::StepFinished(StepFinished {
            step_id,
            state: StepState::Succeeded.into(),
            output_json: "{\"status\":200}".to_owned(),
            ..Default::default()
        }),
        Fact::Finished(ExecutionFinished {
            state: ExecutionState::Succeeded.into(),
            output_json: "{\"status\":200}".to_owned(),
            ..Default::default()
        }),
    ];
    let facts = facts.map(|fact| {
        Body::Execution(ExecutionFact {
            execution: execution.clone(),
            fact: Some(fact),
        })
    });
    std::iter::once(Body::Accepted(accepted))
        .chain(facts)
        .map(|body| {
            *sequence += 1;
            Record {
                sequence: *sequence,
                time: Some(time),
                traceparent: String::new(),
                body: Some(body),
            }
        })
        .collect()
}
