//! `history`: lists and reports at a million executions beside the same at none.
//!
//! The control plane as released over its own database, SQLite or PostgreSQL. The history is written into the tables in bulk,
//! since reporting it would take hours; what is measured goes through the API: ListExecutions by each of its fields, and the
//! Report stream as a node speaks it.

mod fill;
mod reporter;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde::Serialize;
use signalbox_proto::v1::ListExecutionsRequest;
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
};

use self::reporter::Reporter;
use crate::{
    corpus::TOPIC,
    ingest::{SMALL_BYTES, corpus, ground},
    machine::Machine,
    output,
    results::Bar,
};

/// Workflows, topics and keys that the history is spread over.
const SPREAD: u64 = 100;
/// How long the control plane may take to end.
const END_LIMIT: Duration = Duration::from_secs(60);
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
    /// What an execution takes of the database, with its event, its step and the indices.
    bytes_each: f64,
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

    let reported = reporter.executions();
    drop(reporter);
    planes.control.terminate(END_LIMIT);
    planes.control.kill();
    let filling = Instant::now();
    let bytes = fill::fill(&url, args.executions).await?;
    let filled_s = filling.elapsed().as_secs_f64();
    let bytes_each = bytes as f64 / args.executions as f64;
    println!(
        "{} executions written in {filled_s:.0} s, {bytes_each:.0} bytes each",
        args.executions
    );
    planes.control.start().await;
    let mut reporter = Reporter::connect_again(&planes, reported).await?;
    reporter.report(args.reported / 4).await?;

    let lists = lists(&planes.api("viewer"), args.executions, args.lists).await?;
    let reports_after_per_s = reporter.report(args.reported).await?;
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        database,
        executions: args.executions,
        filled_s,
        bytes_each,
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
        "`{}`, {}, {}, {} executions of {:.0} bytes, written in {:.0} s.\n\n{}\n\n| lists of 50, by | p50 | p99 | longest | rows |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        found.database,
        found.executions,
        found.bytes_each,
        found.filled_s,
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

/// The filter of each list, by its number.
type Filter = Box<dyn Fn(u64) -> String>;

async fn lists(api: &Api, executions: u64, lists: u64) -> Result<Vec<Lists>> {
    let first = format!(
        "timestamp(\"{}\")",
        Timestamp::now() - jiff::SignedDuration::from_hours(24 * 24)
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
