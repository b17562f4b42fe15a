//! `memory`: a million messages over 256 connections, and what the node's memory does meanwhile and afterwards.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    ingest::{SMALL_BYTES, corpus, ground, load},
    load::{self, Load},
    machine::Machine,
    output,
    plot::{self, Line},
    process_stats::{Cpu, Memory},
    results::Bar,
    subject::{Subject, Variant},
};

const LIMIT_MIB: f64 = 150.0;
/// Growth after the last of the messages that is taken for flat.
const FLAT: f64 = 1.05;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// No measurement of this kind is worth longer.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// What `memory` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct MemoryArgs {
    /// Messages until memory has to be flat.
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Messages after that.
    #[arg(long, default_value_t = 250_000)]
    after: u64,
    /// Messages between two looks.
    #[arg(long, default_value_t = 50_000)]
    every: u64,
    /// Connections.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Distinct signatures; each is sent to one workflow after the other, and so is a new message to each.
    #[arg(long, default_value_t = 131_072)]
    signatures: u64,
    /// How long to wait, after the last message, until all have been executed.
    #[arg(long, default_value_t = 900)]
    drain_s: u64,
}

/// A look.
#[derive(Clone, Debug, Serialize)]
struct Look {
    messages: u64,
    seconds: f64,
    resident_mib: f64,
    /// Of the messages since the last look, each second.
    rate_per_s: f64,
    /// Executions that have ended.
    executions: f64,
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    connections: usize,
    looks: Vec<Look>,
    peak_mib: f64,
    errors: u64,
    /// Until everything was executed and reported; none: it was not waited for so long.
    drained_after_s: Option<f64>,
    resident_drained_mib: f64,
    /// Of everything that a message costs in the node, its execution and report included.
    cpu_us: f64,
    control_cpu_us: f64,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: MemoryArgs, out: &output::Out) -> Result<()> {
    let ground = ground(&out.dir).await?;
    let corpus = corpus(&ground, SMALL_BYTES, args.signatures)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let total = args.messages + args.after;
    let workflows = u32::try_from(total.div_ceil(corpus.count))?;
    let started_at = Timestamp::now().to_string();
    let mut subject = Subject::start(&ground, Variant::Signalbox, &corpus, workflows).await?;
    let running = load::start(Load {
        duration: DURATION_MAX,
        requests_max: total,
        ..load(&ground, &subject, &corpus, args.connections)?
    });
    let started = Instant::now();
    let mut looks: Vec<Look> = Vec::new();
    for messages in (args.every..=total).step_by(usize::try_from(args.every)?) {
        while running.begun() < messages {
            if running.is_over() || started.elapsed() > DURATION_MAX {
                bail!("the load ended after {} messages", running.begun());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let look = look(&mut subject, messages, started, looks.last()).await?;
        println!(
            "{messages:>8} messages  {:>6.1} MiB  {:>6.0}/s  {:>8.0} executed",
            look.resident_mib, look.rate_per_s, look.executions
        );
        looks.push(look);
    }
    let outcome = running.outcome().await?;
    if let Some(error) = &outcome.first_error {
        eprintln!("{} errors; the first: {error}", outcome.errors);
    }
    let drained_after_s = drained(&subject, total, Duration::from_secs(args.drain_s)).await;
    let memory = Memory::of(subject.pid())?;
    let control = subject.control_pid().context("no control plane")?;
    let mut found = Found {
        machine,
        command: output::command(),
        started_at,
        connections: args.connections,
        peak_mib: memory.peak_mib,
        errors: outcome.errors,
        drained_after_s,
        resident_drained_mib: memory.resident_mib,
        cpu_us: Cpu::of(subject.pid())?.total_us / total as f64,
        control_cpu_us: Cpu::of(control)?.total_us / total as f64,
        bars: bars(&looks, args.messages, outcome.errors),
        looks,
    };
    found.looks.sort_by_key(|look| look.messages);
    let line = Line {
        name: "RSS, MiB".to_owned(),
        points: found
            .looks
            .iter()
            .map(|look| (look.messages as f64 / 1000.0, look.resident_mib))
            .collect(),
    };
    let title = format!("RSS of the node, MiB, {} connections", args.connections);
    let file = out.file("memory.svg");
    plot::draw(&file, &title, "thousand messages", false, &[line])?;
    let text = text(&found);
    println!("\n{text}");
    out.json("memory", &found)?;
    out.markdown("memory", &text)
}

async fn look(
    subject: &mut Subject,
    messages: u64,
    started: Instant,
    last: Option<&Look>,
) -> Result<Look> {
    let seconds = started.elapsed().as_secs_f64();
    let (before, since) = last.map_or((0, 0.0), |last| (last.messages, last.seconds));
    let executions = subject.metric("signalbox_executions_total").await;
    Ok(Look {
        messages,
        seconds,
        resident_mib: Memory::of(subject.pid())?.resident_mib,
        rate_per_s: (messages - before) as f64 / (seconds - since),
        executions: executions.unwrap_or_default(),
    })
}

/// Seconds until all executions have ended, if that is within `limit`.
async fn drained(subject: &Subject, total: u64, limit: Duration) -> Option<f64> {
    let started = Instant::now();
    while started.elapsed() < limit {
        let ended = subject.metric("signalbox_executions_total").await?;
        if ended >= total as f64 {
            return Some(started.elapsed().as_secs_f64());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    None
}

fn bars(looks: &[Look], messages: u64, errors: u64) -> Vec<Bar> {
    let (before, after): (Vec<&Look>, Vec<&Look>) =
        looks.iter().partition(|look| look.messages <= messages);
    let at_last = before.last().map_or(0.0, |look| look.resident_mib);
    let most = |of: &[&Look]| of.iter().map(|look| look.resident_mib).fold(0.0, f64::max);
    let (highest, later) = (most(&before).max(most(&after)), most(&after));
    vec![
        Bar::new(
            "RSS at most 150 MiB at 256 connections after a million messages",
            format!("{at_last:.0} MiB; at most {highest:.0} MiB in any look"),
            highest <= LIMIT_MIB,
        ),
        Bar::new(
            "flat from then on (at most 5 % more)",
            format!("at most {later:.0} MiB afterwards"),
            later <= at_last * FLAT,
        ),
        Bar::new("no error", format!("{errors}"), errors == 0),
    ]
}

fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}.\n\n{}\n\n| messages | RSS MiB | messages/s | executed so far |\n| ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        output::machine(&found.machine)
    );
    for look in &found.looks {
        text.push_str(&format!(
            "| {} | {:.1} | {:.0} | {:.0} |\n",
            look.messages, look.resident_mib, look.rate_per_s, look.executions
        ));
    }
    let drained = found.drained_after_s.map_or_else(
        || "not all was executed while it was waited for".to_owned(),
        |seconds| format!("all was executed {seconds:.0} s after the last answer"),
    );
    text.push_str(&format!(
        "\n- peak (VmHWM) {:.0} MiB; {drained}, RSS then {:.0} MiB\n\
         - CPU for each message until then, its execution and report included: node {:.1} µs, control plane {:.1} µs\n\n",
        found.peak_mib, found.resident_drained_mib, found.cpu_us, found.control_cpu_us
    ));
    text.push_str(&output::bars(&found.bars));
    text
}
