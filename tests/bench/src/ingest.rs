//! `ingest`: bare servers and Signalbox side by side, in turns.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    corpus::{Corpus, Key},
    load::{self, Load, Outcome, Spread},
    machine::Machine,
    origin, output, plot,
    process_stats::{Cpu, Memory},
    results::{self, Bar, Ingest, Measured, Ratio, Row},
    subject::{Ground, Subject, Variant},
};

/// Bodies of about a typical message's size.
pub(crate) const SMALL_BYTES: usize = 1536;
/// Large bodies.
pub(crate) const LARGE_BYTES: usize = 64 * 1024;
/// How often the corpus may go round in one measurement; each time it goes to another workflow.
const LAPS: u64 = 4;
/// Before each measurement: connections, caches and the code are warm then.
const WARM_UP: Duration = Duration::from_millis(500);

/// What `ingest` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct IngestArgs {
    /// How often each measurement is repeated; medians are shown.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each measurement takes, in milliseconds.
    #[arg(long, default_value_t = 3000)]
    duration_ms: u64,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    connections: Vec<usize>,
    /// Sizes of bodies.
    #[arg(long, value_delimiter = ',', default_values_t = [SMALL_BYTES, LARGE_BYTES])]
    body_bytes: Vec<usize>,
    /// What is compared.
    #[arg(long, value_delimiter = ',', value_enum,
          default_values_t = [Variant::Hyper, Variant::Verify, Variant::Signalbox, Variant::Held, Variant::Tls])]
    variants: Vec<Variant>,
    /// Distinct signed messages of the smallest size; of 64 KiB there are a quarter as many.
    #[arg(long, default_value_t = 131_072)]
    messages: u64,
    /// A look of about a minute: 64 connections, 1.5 KiB, one short round.
    #[arg(long)]
    quick: bool,
}

impl IngestArgs {
    fn plan(mut self) -> Self {
        if self.quick {
            self.rounds = 2;
            self.duration_ms = self.duration_ms.min(1500);
            self.connections = vec![1, 64];
            self.body_bytes = vec![SMALL_BYTES];
            self.messages = self.messages.min(32_768);
        }
        self
    }
}

/// What is written as JSON.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    ingest: &'a Ingest,
    ratios: &'a [Ratio],
    bars: &'a [Bar],
}

/// Ready for measurements in `dir`.
pub(crate) async fn ground(dir: &Path) -> Result<Ground> {
    std::fs::create_dir_all(dir)?;
    let dir = std::fs::canonicalize(dir)?;
    let key = Key::load(&dir.join("corpus"))?;
    Ok(Ground {
        origin: origin::serve(key.certificate()?).await?,
        silence: origin::silence().await?,
        key,
        dir,
    })
}

/// The corpus of `ground` with `count` messages of `body_bytes`.
pub(crate) fn corpus(ground: &Ground, body_bytes: usize, count: u64) -> Result<Arc<Corpus>> {
    let dir = ground.dir.join("corpus");
    Ok(Arc::new(Corpus::load(
        &dir,
        &ground.key,
        body_bytes,
        count,
    )?))
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: IngestArgs, out: &output::Out) -> Result<()> {
    let args = args.plan();
    ensure!(args.rounds > 0, "at least one round");
    let ground = ground(&out.dir).await?;
    let count = |bytes: usize| {
        if bytes < LARGE_BYTES {
            args.messages
        } else {
            args.messages / 4
        }
    };
    let corpora: Vec<_> = args
        .body_bytes
        .iter()
        .map(|bytes| corpus(&ground, *bytes, count(*bytes)))
        .collect::<Result<_>>()?;
    let smallest = corpora
        .iter()
        .min_by_key(|corpus| corpus.body_bytes)
        .context("no size")?;
    let machine = Machine::measure(&ground.dir, &ground.key, smallest)?;
    println!("{}", output::machine(&machine));
    let started_at = Timestamp::now().to_string();
    let rows = play(&args, &ground, &corpora).await?;
    let ingest = Ingest {
        machine,
        command: output::command(),
        started_at,
        rounds: args.rounds,
        seconds_each: args.duration_ms as f64 / 1000.0,
        rows,
    };
    let ratios = ingest.ratios();
    let bars = results::bars(&ingest, SMALL_BYTES);
    let table = output::ingest(&ingest, &ratios, &bars);
    println!("\n{table}");
    out.json(
        "ingest",
        &Written {
            ingest: &ingest,
            ratios: &ratios,
            bars: &bars,
        },
    )?;
    for body_bytes in &args.body_bytes {
        let file: PathBuf = out.file(&format!("ingest-{body_bytes}.svg"));
        plot::ingest(&ingest, *body_bytes, &file)?;
    }
    out.markdown("ingest", &table)
}

async fn play(args: &IngestArgs, ground: &Ground, corpora: &[Arc<Corpus>]) -> Result<Vec<Row>> {
    let cells: Vec<_> = corpora
        .iter()
        .flat_map(|corpus| args.connections.iter().map(move |n| (corpus, *n)))
        .collect();
    let width = args.variants.len();
    let mut found: Vec<Vec<Measured>> = vec![Vec::new(); cells.len() * width];
    for round in 0..args.rounds {
        for (number, (corpus, connections)) in cells.iter().enumerate() {
            // In turns, so that whatever else the machine does meets all alike.
            for (place, variant) in args.variants.iter().enumerate() {
                let duration = Duration::from_millis(args.duration_ms);
                let measured = cell(ground, *variant, corpus, *connections, duration)
                    .await
                    .with_context(|| format!("{variant:?}, {connections} connections"))?;
                println!(
                    "round {}: {}",
                    round + 1,
                    output::line(*variant, corpus.body_bytes, *connections, &measured)
                );
                found[number * width + place].push(measured);
            }
        }
    }
    let mut rows = Vec::new();
    let mut found = found.into_iter();
    for (corpus, connections) in cells {
        for variant in &args.variants {
            let rounds = found.next().unwrap_or_default();
            rows.push(Row::new(*variant, corpus.body_bytes, connections, rounds));
        }
    }
    Ok(rows)
}

/// One measurement of a fresh server.
async fn cell(
    ground: &Ground,
    variant: Variant,
    corpus: &Arc<Corpus>,
    connections: usize,
    duration: Duration,
) -> Result<Measured> {
    let workflows = u32::try_from(LAPS + 1)?;
    let mut subject = Subject::start(ground, variant, corpus, workflows).await?;
    let load = load(ground, &subject, corpus, connections)?;
    let main = Load {
        duration,
        first: corpus.count,
        requests_max: corpus.count * LAPS,
        ..load.clone()
    };
    warm_then(&mut subject, load, main).await
}

/// Signalbox, whole, with so many workflows that take turns, at 64 connections.
pub(crate) async fn whole_node(
    ground: &Ground,
    corpus: &Arc<Corpus>,
    workflows: u32,
    duration: Duration,
) -> Result<Measured> {
    let mut subject = Subject::start(ground, Variant::Signalbox, corpus, workflows).await?;
    let load = Load {
        spread: Spread::Turns(workflows),
        ..load(ground, &subject, corpus, 64)?
    };
    let (warm, main) = load.halves(corpus.count / 8);
    warm_then(&mut subject, warm, Load { duration, ..main }).await
}

/// A load of the warm-up's length for `subject`.
pub(crate) fn load(
    ground: &Ground,
    subject: &Subject,
    corpus: &Arc<Corpus>,
    connections: usize,
) -> Result<Load> {
    let load = Load::of(ground, corpus, subject.addr, &subject.target, connections)?;
    Ok(Load {
        tls: subject.tls.clone(),
        duration: WARM_UP,
        ..load
    })
}

async fn warm_then(subject: &mut Subject, warm: Load, main: Load) -> Result<Measured> {
    if let Some(error) = load::play(warm).await?.first_error {
        anyhow::bail!("while warming up: {error}");
    }
    let before = Sample::of(subject).await?;
    let outcome = load::play(main).await?;
    let after = Sample::of(subject).await?;
    if let Some(error) = &outcome.first_error {
        eprintln!("{} errors; the first: {error}", outcome.errors);
    }
    measured(&before, &after, &outcome)
}

/// Counters at one moment.
struct Sample {
    server: Cpu,
    control: Cpu,
    load: Cpu,
    memory: Memory,
    syncs: f64,
    executions: f64,
}

impl Sample {
    async fn of(subject: &mut Subject) -> Result<Self> {
        // CPU first: what a node executes while it is asked for the rest is not the measurement's.
        let pid = subject.pid();
        let (server, memory) = (Cpu::of(pid)?, Memory::of(pid)?);
        let control = subject.control_pid().map(Cpu::of).transpose()?;
        let load = Cpu::of(std::process::id())?;
        let syncs = subject.metric("signalbox_intake_syncs_total").await;
        let executions = subject.metric("signalbox_executions_total").await;
        Ok(Self {
            server,
            control: control.unwrap_or_default(),
            load,
            memory,
            syncs: syncs.unwrap_or_default(),
            executions: executions.unwrap_or_default(),
        })
    }
}

fn measured(before: &Sample, after: &Sample, outcome: &Outcome) -> Result<Measured> {
    ensure!(outcome.acknowledged > 0, "nothing was answered");
    let requests = outcome.acknowledged as f64;
    let seconds = outcome.elapsed.as_secs_f64();
    let server = after.server.since(&before.server);
    let each = |us: f64| us / requests;
    Ok(Measured {
        requests,
        errors: outcome.errors as f64,
        rate_per_s: outcome.rate(),
        p50_us: outcome.quantile_us(0.5),
        p99_us: outcome.quantile_us(0.99),
        p999_us: outcome.quantile_us(0.999),
        cpu_us: each(server.total_us),
        threads_cpu_us: server
            .threads_us
            .into_iter()
            .map(|(name, us)| (name, each(us)))
            .collect(),
        control_cpu_us: each(after.control.since(&before.control).total_us),
        load_cpu_us: each(after.load.since(&before.load).total_us),
        resident_mib: after.memory.resident_mib,
        peak_mib: after.memory.peak_mib,
        syncs_per_s: (after.syncs - before.syncs) / seconds,
        executions_per_s: (after.executions - before.executions) / seconds,
    })
}
