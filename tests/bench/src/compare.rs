//! `compare`: the same messages by the same load to what people use today, and to Signalbox; and what each still knows
//! of what it acknowledged, after it was killed again and again.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use rand::RngExt as _;
use serde::Serialize;
use signalbox_proto::v1::ExecutionState;

use crate::{
    corpus::{Corpus, message_id},
    ingest::{SMALL_BYTES, corpus, ground},
    load::{self, Load},
    machine::Machine,
    output,
    peers::{self, Kind, Peer},
    process_stats::{Cpu, Memory},
    results::Bar,
    subject::{Ground, Subject, Variant},
};

/// Messages of the corpus; each goes to a server once.
const MESSAGES: u64 = 131_072;
/// How long a server may take, after the last kill, until it has done all that it will do.
const SETTLE_LIMIT: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks without a change after which it has settled.
const STILL: u32 = 5;

/// What `compare` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CompareArgs {
    /// Beside which.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Kind::Fastapi, Kind::N8n])]
    peers: Vec<Kind>,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<usize>,
    /// Rounds; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long each measurement takes, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    duration_ms: u64,
    /// SIGKILLs of each.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Messages sent before each of them, at most.
    #[arg(long, default_value_t = 5000)]
    messages_per_kill: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Signalbox,
    Peer(Kind),
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Signalbox => "Signalbox",
            Self::Peer(Kind::Fastapi) => "FastAPI, signature check, SQLite commit",
            Self::Peer(Kind::N8n) => "n8n webhook (no signature check)",
        }
    }
}

/// Either of what is compared, running.
enum Server {
    Signalbox(Box<Subject>),
    Peer(Peer),
}

#[derive(Clone, Debug, Serialize)]
struct Rate {
    who: &'static str,
    connections: usize,
    rate_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    resident_mib: f64,
    errors: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Kills {
    who: &'static str,
    kills: u32,
    acknowledged: usize,
    /// Acknowledged, and it knows nothing of them.
    lost: usize,
    /// Acknowledged and known, and never executed to the end.
    not_executed: usize,
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    rates: Vec<Rate>,
    kills: Vec<Kills>,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: CompareArgs, out: &output::Out) -> Result<()> {
    ensure!(
        u64::from(args.kills) * args.messages_per_kill <= MESSAGES,
        "a kill needs messages of its own; there are {MESSAGES}"
    );
    for kind in &args.peers {
        peers::install(*kind)?;
    }
    let started_at = Timestamp::now().to_string();
    let ground = ground(&out.dir).await?;
    let corpus = corpus(&ground, SMALL_BYTES, MESSAGES)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let all: Vec<Who> = std::iter::once(Who::Signalbox)
        .chain(args.peers.iter().map(|kind| Who::Peer(*kind)))
        .collect();
    let rates = rates(&args, &ground, &corpus, &all).await?;
    let mut kills = Vec::new();
    for who in all {
        let found = killed(&args, &ground, &corpus, who).await?;
        println!(
            "{:<42} {} kills: {} acknowledged, {} lost, {} never executed",
            found.who, found.kills, found.acknowledged, found.lost, found.not_executed
        );
        kills.push(found);
    }
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        bars: bars(&kills),
        rates,
        kills,
    };
    let text = text(&found);
    println!("\n{text}");
    out.json("compare", &found)?;
    out.markdown("compare", &text)
}

fn bars(kills: &[Kills]) -> Vec<Bar> {
    kills
        .iter()
        .filter(|kills| kills.who == Who::Signalbox.name())
        .map(|kills| {
            Bar::new(
                "Signalbox: acknowledged is executed, whatever is killed",
                format!(
                    "{} kills, {} acknowledged, {} lost, {} not executed",
                    kills.kills, kills.acknowledged, kills.lost, kills.not_executed
                ),
                kills.lost == 0 && kills.not_executed == 0,
            )
        })
        .collect()
}

async fn rates(
    args: &CompareArgs,
    ground: &Ground,
    corpus: &Arc<Corpus>,
    all: &[Who],
) -> Result<Vec<Rate>> {
    let mut found = Vec::new();
    for connections in &args.connections {
        let mut rounds: Vec<Vec<Rate>> = vec![Vec::new(); all.len()];
        for _ in 0..args.rounds {
            for (place, who) in all.iter().enumerate() {
                let mut server = Server::start(ground, *who, corpus).await?;
                let load = Load {
                    duration: Duration::from_millis(args.duration_ms),
                    ..server.load(ground, corpus, *connections)?
                };
                let rate = server.rate(load, *who).await?;
                println!(
                    "{:<42} {connections:>3} conn {:>7.0}/s  p50 {:>7.0} p99 {:>8.0} µs  cpu {:>6.1} µs  {:.0} errors",
                    rate.who, rate.rate_per_s, rate.p50_us, rate.p99_us, rate.cpu_us, rate.errors
                );
                rounds[place].push(rate);
            }
        }
        found.extend(rounds.iter().filter_map(|rounds| median(rounds)));
    }
    Ok(found)
}

fn median(rounds: &[Rate]) -> Option<Rate> {
    let of = |field: fn(&Rate) -> f64| {
        crate::results::median(rounds.iter().map(field).collect::<Vec<_>>())
    };
    let first = rounds.first()?;
    Some(Rate {
        rate_per_s: of(|rate| rate.rate_per_s),
        p50_us: of(|rate| rate.p50_us),
        p99_us: of(|rate| rate.p99_us),
        cpu_us: of(|rate| rate.cpu_us),
        resident_mib: of(|rate| rate.resident_mib),
        errors: rounds.iter().map(|rate| rate.errors).sum(),
        ..first.clone()
    })
}

impl Server {
    async fn start(ground: &Ground, who: Who, corpus: &Corpus) -> Result<Self> {
        Ok(match who {
            Who::Signalbox => {
                let subject = Subject::start(ground, Variant::Signalbox, corpus, 1).await?;
                Self::Signalbox(Box::new(subject))
            }
            Who::Peer(kind) => Self::Peer(Peer::start(ground, kind).await?),
        })
    }

    /// A load of all messages, in order.
    fn load(&self, ground: &Ground, corpus: &Arc<Corpus>, connections: usize) -> Result<Load> {
        let (addr, target): (SocketAddr, &str) = match self {
            Self::Signalbox(subject) => (subject.addr, &subject.target),
            Self::Peer(peer) => (peer.addr, peer.target()),
        };
        Load::of(ground, corpus, addr, target, connections)
    }

    fn pids(&mut self) -> Vec<u32> {
        match self {
            Self::Signalbox(subject) => {
                let control = subject.control_pid();
                std::iter::once(subject.pid()).chain(control).collect()
            }
            Self::Peer(peer) => peer.pids(),
        }
    }

    /// CPU time of all its processes, in microseconds.
    fn cpu_us(&mut self) -> Result<f64> {
        let pids = self.pids().into_iter();
        pids.map(|pid| Ok(Cpu::of(pid)?.total_us)).sum()
    }

    async fn rate(&mut self, load: Load, who: Who) -> Result<Rate> {
        let (warm, main) = load.halves(500);
        if let Some(error) = load::play(warm).await?.first_error {
            anyhow::bail!("{}, while warming up: {error}", who.name());
        }
        let connections = main.connections;
        let before = self.cpu_us()?;
        let outcome = load::play(main).await?;
        let cpu_us = (self.cpu_us()? - before) / outcome.acknowledged.max(1) as f64;
        if let Some(error) = &outcome.first_error {
            eprintln!("{} errors; the first: {error}", outcome.errors);
        }
        let resident: Vec<f64> = self
            .pids()
            .into_iter()
            .map(|pid| Ok(Memory::of(pid)?.resident_mib))
            .collect::<Result<_>>()?;
        Ok(Rate {
            who: who.name(),
            connections,
            rate_per_s: outcome.rate(),
            p50_us: outcome.quantile_us(0.5),
            p99_us: outcome.quantile_us(0.99),
            cpu_us,
            resident_mib: resident.iter().sum(),
            errors: outcome.errors as f64,
        })
    }

    fn kill(&mut self) -> Result<()> {
        match self {
            Self::Signalbox(subject) => subject.planes().context("no planes")?.data.kill(),
            Self::Peer(peer) => peer.kill(),
        }
        Ok(())
    }

    async fn restart(&mut self) -> Result<()> {
        match self {
            Self::Signalbox(subject) => {
                subject.planes().context("no planes")?.data.start().await;
            }
            Self::Peer(peer) => peer.run().await,
        }
        Ok(())
    }

    /// Whether each message that it knows was executed to its end, by MessageId.
    async fn known(&mut self) -> Result<HashMap<String, bool>> {
        match self {
            Self::Signalbox(subject) => {
                let api = subject.planes().context("no planes")?.api("admin");
                let executions = api.all_executions("").await?;
                Ok(executions
                    .into_iter()
                    .map(|execution| {
                        let is_done = execution.state() == ExecutionState::Succeeded;
                        (execution.message_id, is_done)
                    })
                    .collect())
            }
            Self::Peer(peer) => Ok(peer
                .known()?
                .into_iter()
                .map(|(id, state)| (id, state == "success" || state == "stored"))
                .collect()),
        }
    }
}

/// Kills it at random moments under load, starts it again, and looks what it knows of what it acknowledged.
async fn killed(
    args: &CompareArgs,
    ground: &Ground,
    corpus: &Arc<Corpus>,
    who: Who,
) -> Result<Kills> {
    let mut server = Server::start(ground, who, corpus).await?;
    let mut acknowledged: HashSet<String> = HashSet::new();
    let mut next = 0;
    for _ in 0..args.kills {
        let running = load::start(Load {
            first: next,
            requests_max: args.messages_per_kill,
            keep_acknowledged: true,
            ..server.load(ground, corpus, 16)?
        });
        let after =
            rand::rng().random_range(args.messages_per_kill / 50..args.messages_per_kill / 2);
        let pause = Duration::from_millis(rand::rng().random_range(100..2000));
        let started = Instant::now();
        // By the number of messages where it is fast, by time where it is slow.
        while running.begun() < after && started.elapsed() < pause && !running.is_over() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill()?;
        let outcome = running.outcome().await?;
        acknowledged.extend(outcome.sent.iter().map(|sent| message_id(sent.number)));
        next += args.messages_per_kill;
        server.restart().await?;
    }
    let known = settled(&mut server, &acknowledged).await?;
    let lost = acknowledged.iter().filter(|id| !known.contains_key(*id));
    let unfinished = acknowledged
        .iter()
        .filter(|id| known.get(*id) == Some(&false));
    Ok(Kills {
        who: who.name(),
        kills: args.kills,
        acknowledged: acknowledged.len(),
        lost: lost.count(),
        not_executed: unfinished.count(),
    })
}

/// What it knows once all that was acknowledged is executed, or nothing changes any more.
async fn settled(
    server: &mut Server,
    acknowledged: &HashSet<String>,
) -> Result<HashMap<String, bool>> {
    let started = Instant::now();
    let (mut last, mut still) = (usize::MAX, 0);
    loop {
        let known = server.known().await?;
        let done = acknowledged
            .iter()
            .filter(|id| known.get(*id) == Some(&true))
            .count();
        still = if done == last { still + 1 } else { 0 };
        last = done;
        let is_settled = done == acknowledged.len() || still >= STILL;
        if is_settled || started.elapsed() > SETTLE_LIMIT {
            return Ok(known);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}.\n\n{}\n\n| | connections | requests/s | p50 | p99 | CPU µs/request | RSS MiB | errors |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        output::machine(&found.machine)
    );
    for rate in &found.rates {
        text.push_str(&format!(
            "| {} | {} | {:.0} | {:.0} µs | {:.0} µs | {:.0} | {:.0} | {:.0} |\n",
            rate.who,
            rate.connections,
            rate.rate_per_s,
            rate.p50_us,
            rate.p99_us,
            rate.cpu_us,
            rate.resident_mib,
            rate.errors
        ));
    }
    text.push_str(
        "\n| after SIGKILLs under load | kills | acknowledged | lost | known, never executed |\n\
         | --- | ---: | ---: | ---: | ---: |\n",
    );
    for kills in &found.kills {
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} |\n",
            kills.who, kills.kills, kills.acknowledged, kills.lost, kills.not_executed
        ));
    }
    text.push('\n');
    text.push_str(&output::bars(&found.bars));
    text
}
