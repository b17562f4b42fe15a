//! `waiting`: a million executions that wait at one node, what they take of its memory, and how late they go on.

mod feed;
mod lateness;

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use signalbox_tests::planes::{Options, Planes};

use self::{
    feed::{Fed, Feed},
    lateness::Lateness,
};
use crate::{
    ingest::{SMALL_BYTES, corpus, ground},
    machine::Machine,
    output,
    plot::{self, Line},
    process_stats::{Cpu, Memory},
    results::Bar,
    subject::{drained, sum},
};

/// What the node may take.
const LIMIT_MIB: f64 = 200.0;
/// 99 of 100 go on within so long after they are due: what is taken for "on time".
const ON_TIME_MS: f64 = 1_000.0;
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The node's token is good for an hour.
const TOKEN_EVERY: Duration = Duration::from_secs(1200);
/// Looks while they go on.
const LOOKS: u32 = 10;
/// Messages that are verified to see how fast the machine is.
const CORPUS: u64 = 2048;

/// What `waiting` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WaitingArgs {
    /// Executions.
    #[arg(long, default_value_t = 1_000_000)]
    executions: u64,
    /// Executions between two looks.
    #[arg(long, default_value_t = 100_000)]
    every: u64,
    /// Until the first is due, in seconds from when the first comes. By default a second for each 800 executions and a
    /// minute: all have to be in by then.
    #[arg(long)]
    lead_s: Option<u64>,
    /// From when the first is due until the last is, in seconds.
    #[arg(long, default_value_t = 600)]
    spread_s: u64,
    /// Connections that bring them.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long to wait after the last was due until all have gone on and are reported, in seconds.
    #[arg(long, default_value_t = 1800)]
    drain_s: u64,
}

impl WaitingArgs {
    fn lead(&self) -> Duration {
        Duration::from_secs(self.lead_s.unwrap_or(60 + self.executions / 800))
    }
}

/// A look.
#[derive(Clone, Debug, Serialize)]
struct Look {
    seconds: f64,
    /// Executions that wait in the spool.
    waiting: u64,
    /// Executions that have ended.
    ended: u64,
    resident_mib: f64,
    /// Of the node, of what it has used since it started.
    cpu_s: f64,
    /// Bytes that the spool takes on its disk, in MiB.
    spool_mib: f64,
    /// Records that the control plane does not have yet.
    unreported: u64,
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    executions: u64,
    spread_s: u64,
    /// While they come, and wait.
    coming: Vec<Look>,
    /// While they go on.
    going: Vec<Look>,
    /// Until all were answered, in seconds.
    answered_s: f64,
    /// Requests that were sent again, because the node had said that it is busy.
    sent_again: u64,
    /// Until all waited; none: the first was due before.
    all_wait_s: Option<f64>,
    peak_mib: f64,
    /// From when the last was due until all were reported.
    reported_s: f64,
    lateness: Lateness,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: WaitingArgs, out: &output::Out) -> Result<()> {
    ensure!(args.executions > 0, "at least one execution");
    ensure!(args.every > 0, "looks are at least one execution apart");
    let started_at = Timestamp::now().to_string();
    let ground = ground(&out.dir).await?;
    let corpus = corpus(&ground, SMALL_BYTES, CORPUS)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let options = Options {
        dir_in: Some(ground.dir.clone()),
        ..Options::default()
    };
    let (mut planes, api) = Planes::start(options).await;
    let key = api.create_key("bench").await;
    api.create_workflow("wait", SPEC).await;
    api.synced(START_LIMIT).await;
    let feed = Arc::new(Feed {
        addr: planes.data.addr(),
        target: format!("/v1/projects/default/workflows/wait/webhook?x-api-key={key}"),
        count: args.executions,
        connections: args.connections,
        first_due: Timestamp::now() + SignedDuration::try_from(args.lead())?,
        spread: Duration::from_secs(args.spread_s),
    });
    let mut eyes = Eyes {
        planes: &mut planes,
        started: Instant::now(),
        token_written: Instant::now(),
    };
    let mut coming = vec![eyes.look().await?];
    let running = tokio::spawn(feed.clone().run());
    let fed = async { running.await? };
    // Either's failure ends both.
    let (all_wait_s, fed): (Option<f64>, Fed) =
        tokio::try_join!(eyes.coming(&args, &feed, &mut coming), fed)?;
    let going = eyes.going(&args, &feed).await?;
    let drain = Duration::from_secs(args.drain_s);
    drained(&planes.data, args.executions, drain).await?;
    let reported_s = Timestamp::now().duration_since(feed.last_due());
    let peak_mib = Memory::of(planes.data.process().id())?.peak_mib;
    let lateness = Lateness::of(&planes.api("viewer"), &feed).await?;
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        executions: args.executions,
        spread_s: args.spread_s,
        bars: bars(&args, all_wait_s, peak_mib, &lateness),
        coming,
        going,
        answered_s: fed.elapsed.as_secs_f64(),
        sent_again: fed.sent_again,
        all_wait_s,
        peak_mib,
        reported_s: reported_s.as_secs_f64(),
        lateness,
    };
    plot(&found, out)?;
    let text = text(&found);
    println!("\n{text}");
    out.json("waiting", &found)?;
    out.markdown("waiting", &text)
}

/// Each event says until when.
const SPEC: &str = "
trigger: {webhook: {apiKeys: [bench]}}
timeout: 86400s
steps: [{id: wait, wait: {until: '${{ event.json.due }}'}}]
";

/// Looks at a node.
struct Eyes<'a> {
    planes: &'a mut Planes,
    started: Instant,
    token_written: Instant,
}

impl Eyes<'_> {
    async fn look(&mut self) -> Result<Look> {
        if self.token_written.elapsed() > TOKEN_EVERY {
            self.planes.write_node_token();
            self.token_written = Instant::now();
        }
        let metrics = self.planes.data.metrics().await;
        let of = |name: &str| sum(&metrics, name);
        let pid = self.planes.data.process().id();
        Ok(Look {
            seconds: self.started.elapsed().as_secs_f64(),
            waiting: of("signalbox_executions_parked") as u64,
            ended: of("signalbox_executions_total") as u64,
            resident_mib: Memory::of(pid)?.resident_mib,
            cpu_s: Cpu::of(pid)?.total_us / 1e6,
            spool_mib: (of("signalbox_spool_used_bytes")
                + of("signalbox_spool_deduplication_bytes"))
                / 1024.0
                / 1024.0,
            unreported: of("signalbox_spool_unreported_records") as u64,
        })
    }

    /// Until all wait, or the first is due; keeps a look each time that so many more wait, and gives the seconds until all
    /// did.
    async fn coming(
        &mut self,
        args: &WaitingArgs,
        feed: &Feed,
        looks: &mut Vec<Look>,
    ) -> Result<Option<f64>> {
        let mut next = args.every;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let is_over = Timestamp::now() >= feed.first_due;
            let look = self.look().await?;
            let all_wait = look.waiting >= args.executions;
            if look.waiting >= next || all_wait || is_over {
                next = (look.waiting / args.every + 1) * args.every;
                println!("{}", line(&look));
                looks.push(look.clone());
            }
            if all_wait {
                return Ok(Some(look.seconds));
            }
            if is_over {
                return Ok(None);
            }
        }
    }

    /// From when the first is due until all have ended.
    async fn going(&mut self, args: &WaitingArgs, feed: &Feed) -> Result<Vec<Look>> {
        let left = feed.first_due.duration_since(Timestamp::now());
        tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
        let mut looks = vec![self.look().await?];
        let every = (feed.spread / LOOKS).max(LOOK_EVERY);
        let limit = Instant::now() + feed.spread + Duration::from_secs(args.drain_s);
        loop {
            tokio::time::sleep(every).await;
            let look = self.look().await?;
            println!("{}", line(&look));
            looks.push(look.clone());
            if look.ended >= args.executions {
                return Ok(looks);
            }
            ensure!(
                Instant::now() < limit,
                "{} of {} executions went on",
                look.ended,
                args.executions
            );
        }
    }
}

fn line(look: &Look) -> String {
    format!(
        "{:>6.0} s  {:>8} wait  {:>8} ended  {:>6.1} MiB  spool {:>6.0} MiB  {:>8} unreported",
        look.seconds, look.waiting, look.ended, look.resident_mib, look.spool_mib, look.unreported
    )
}

fn bars(
    args: &WaitingArgs,
    all_wait_s: Option<f64>,
    peak_mib: f64,
    lateness: &Lateness,
) -> Vec<Bar> {
    let executions = args.executions;
    let all_wait = all_wait_s.map_or_else(
        || "not all were in when the first was due".to_owned(),
        |seconds| format!("after {seconds:.0} s"),
    );
    let &Lateness {
        succeeded,
        early,
        p99_ms,
        max_ms,
        ..
    } = lateness;
    vec![
        Bar::new(
            &format!("{executions} executions wait at once at one node"),
            all_wait,
            all_wait_s.is_some(),
        ),
        Bar::new(
            "the node takes at most 200 MiB, while they come, wait and go on",
            format!("peak (VmHWM) {peak_mib:.0} MiB"),
            peak_mib <= LIMIT_MIB,
        ),
        Bar::new(
            "all go on, none before it is due",
            format!("{succeeded} SUCCEEDED, {early} before"),
            succeeded == executions && early == 0,
        ),
        Bar::new(
            "on time (taken as: p99 at most 1 s late)",
            format!("p99 {p99_ms:.0} ms, most {max_ms:.0} ms"),
            p99_ms <= ON_TIME_MS,
        ),
    ]
}

fn plot(found: &Found, out: &output::Out) -> Result<()> {
    let line = Line {
        name: "RSS, MiB".to_owned(),
        points: found
            .coming
            .iter()
            .map(|look| (look.waiting as f64 / 1000.0, look.resident_mib))
            .collect(),
    };
    let title = "RSS of the node, MiB";
    let x_name = "thousand executions that wait";
    plot::draw(&out.file("waiting.svg"), title, x_name, false, &[line])
}

fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}.\n\n{}\n\n",
        found.command,
        found.started_at,
        output::machine(&found.machine)
    );
    text.push_str(
        "| | seconds | wait | ended | RSS MiB | CPU s, so far | spool MiB | not reported yet |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let coming = found.coming.iter().map(|look| ("they come", look));
    let going = found.going.iter().map(|look| ("they go on", look));
    for (what, look) in coming.chain(going) {
        let _ = writeln!(
            text,
            "| {what} | {:.0} | {} | {} | {:.1} | {:.0} | {:.0} | {} |",
            look.seconds,
            look.waiting,
            look.ended,
            look.resident_mib,
            look.cpu_s,
            look.spool_mib,
            look.unreported
        );
    }
    let Lateness {
        p50_ms,
        p99_ms,
        max_ms,
        ..
    } = found.lateness;
    let all_wait = found.all_wait_s.map_or_else(
        || "not all waited before the first was due".to_owned(),
        |seconds| {
            let rate = found.executions as f64 / seconds;
            format!("all waited after {seconds:.0} s ({rate:.0}/s)")
        },
    );
    let _ = write!(
        text,
        "\n- {} executions, due one after the other within {} s: late by p50 {p50_ms:.0} ms, p99 {p99_ms:.0} ms, at most \
         {max_ms:.0} ms\n\
         - answered in {:.0} s ({:.0}/s), {} of them after they were sent again; {all_wait}\n\
         - all were SUCCEEDED in the control plane {:.1} s after the last was due\n\n",
        found.executions,
        found.spread_s,
        found.answered_s,
        found.executions as f64 / found.answered_s,
        found.sent_again,
        found.reported_s,
    );
    text.push_str(&output::bars(&found.bars));
    text
}
