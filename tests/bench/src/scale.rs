//! `scale`: what a request costs with a hundred, ten thousand, a million workflows and keys.
//!
//! In process: the node's own configuration store, filled through the door by which the control plane's changes come,
//! each definition decoded and checked as on a node, and then asked as each request asks it. Each size has a process of
//! its own, so that memory is that size's alone. And whole: Signalbox with so many workflows, its load spread over all.

use std::{
    hint::black_box, net::IpAddr, process::Command, sync::Arc, time::Duration, time::Instant,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use jiff::Timestamp;
use prost::Message as _;
use serde::{Deserialize, Serialize};
use signalbox_data_plane::{
    config::{Change, ConfigStore, Upsert},
    egress::EgressPolicy,
    ingest::{Budget, Certificates, Head, Ingest, Kind},
    spool::{IntakeSpool, IntakeSpoolConfig},
    sync::decode_resource,
};
use signalbox_model::{
    config::{KeyConfig, KeyDigest, Revision},
    ids::WorkflowName,
};
use signalbox_proto::{convert, v1};
use signalbox_sns::TrustPolicy;

use crate::{
    corpus::TOPIC,
    ingest::{SMALL_BYTES, corpus, ground, whole_node},
    machine::Machine,
    output,
    process_stats::Memory,
    results::{Bar, Measured, median},
};

/// Requests of one timing; the workflows that they are for are spread over all.
const CALLS: usize = 50_000;
/// Timings; the median counts.
const TURNS: usize = 9;
/// Resources of one change.
const CHANGE_MAX: usize = 10_000;
/// By how much the cost may differ between sizes and still be called the same: a cache that no longer holds everything.
const GROWTH_MAX_NS: f64 = 1_000.0;

/// What `scale` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ScaleArgs {
    /// How many workflows, and as many keys.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000, 1_000_000])]
    counts: Vec<usize>,
    /// How many workflows a whole Signalbox is given; at most 10,000.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 10_000])]
    whole: Vec<u32>,
    /// How long each measurement of a whole Signalbox takes, in milliseconds.
    #[arg(long, default_value_t = 3000)]
    duration_ms: u64,
}

/// One size, in a process of its own; `scale` starts it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct LookUpArgs {
    #[arg(long)]
    count: usize,
}

/// What one size costs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct LookUp {
    count: usize,
    /// Key by digest and workflow by name, in the snapshot.
    find_ns: f64,
    /// All of what stands before the body is read: key out of the query, its digest, both look-ups, the checks.
    authorize_ns: f64,
    /// What the configuration takes in memory.
    resident_mib: f64,
    /// One more change on top, durable.
    change_ms: f64,
}

#[derive(Serialize)]
struct Whole {
    workflows: u32,
    #[serde(flatten)]
    measured: Measured,
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    look_ups: Vec<LookUp>,
    whole: Vec<Whole>,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: ScaleArgs, out: &output::Out) -> Result<()> {
    let started_at = Timestamp::now().to_string();
    let ground = ground(&out.dir).await?;
    let corpus = corpus(&ground, SMALL_BYTES, 32_768)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let mut look_ups = Vec::new();
    for count in args.counts {
        let found = in_own_process(count)?;
        println!(
            "{count:>8} workflows and keys: find {:.0} ns, authorise {:.0} ns, {:.0} MiB, a change {:.1} ms",
            found.find_ns, found.authorize_ns, found.resident_mib, found.change_ms
        );
        look_ups.push(found);
    }
    let mut whole = Vec::new();
    for workflows in args.whole {
        let duration = Duration::from_millis(args.duration_ms);
        let measured = whole_node(&ground, &corpus, workflows, duration).await?;
        println!(
            "{workflows:>8} workflows, whole: {:.0}/s, p99 {:.0} µs, {:.1} µs CPU",
            measured.rate_per_s, measured.p99_us, measured.cpu_us
        );
        whole.push(Whole {
            workflows,
            measured,
        });
    }
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        bars: bars(&look_ups),
        look_ups,
        whole,
    };
    let text = text(&found);
    println!("\n{text}");
    out.json("scale", &found)?;
    out.markdown("scale", &text)
}

fn bars(look_ups: &[LookUp]) -> Vec<Bar> {
    let costs = || look_ups.iter().map(|one| one.authorize_ns);
    let (least, most) = (
        costs().fold(f64::INFINITY, f64::min),
        costs().fold(0.0, f64::max),
    );
    vec![Bar::new(
        "what a request costs does not grow with the number of workflows and keys (beyond caches: at most 1 µs more)",
        format!("{least:.0} to {most:.0} ns"),
        most - least <= GROWTH_MAX_NS,
    )]
}

fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}.\n\n{}\n\n| workflows and keys | find both | authorise | memory | one more change, durable |\n\
         | ---: | ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        output::machine(&found.machine)
    );
    for one in &found.look_ups {
        text.push_str(&format!(
            "| {} | {:.0} ns | {:.0} ns | {:.0} MiB | {:.1} ms |\n",
            one.count, one.find_ns, one.authorize_ns, one.resident_mib, one.change_ms
        ));
    }
    if !found.whole.is_empty() {
        text.push_str(
            "\n| workflows, whole node, 64 connections, 1.5 KiB | requests/s | p50 | p99 | CPU µs/request | RSS |\n\
             | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
    }
    for Whole {
        workflows,
        measured,
    } in &found.whole
    {
        text.push_str(&format!(
            "| {workflows} | {:.0} | {:.0} µs | {:.0} µs | {:.1} | {:.0} MiB |\n",
            measured.rate_per_s,
            measured.p50_us,
            measured.p99_us,
            measured.cpu_us,
            measured.resident_mib
        ));
    }
    text.push('\n');
    text.push_str(&output::bars(&found.bars));
    text
}

fn in_own_process(count: usize) -> Result<LookUp> {
    let output = Command::new(std::env::current_exe()?)
        .args(["look-up", "--count", &count.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "look-up ended: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures one size and prints it as JSON.
pub(crate) fn look_up(args: &LookUpArgs) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let resident = || -> Result<f64> { Ok(Memory::of(std::process::id())?.resident_mib) };
    let before = resident()?;
    let store = Arc::new(ConfigStore::open(dir.path(), decode_resource)?);
    let mut revision = 0;
    for from in (0..args.count).step_by(CHANGE_MAX) {
        revision += 1;
        store.apply(change(revision, from..(from + CHANGE_MAX).min(args.count))?)?;
    }
    let resident_mib = resident()? - before;
    let changed = Instant::now();
    store.apply(change(revision + 1, 0..1)?)?;
    let change_ms = changed.elapsed().as_secs_f64() * 1e3;

    let wanted: Vec<usize> = (0..CALLS)
        .map(|call| call.wrapping_mul(2_654_435_761) % args.count)
        .collect();
    let find_ns = timed(|| {
        let names: Vec<_> = wanted
            .iter()
            .map(|number| Ok((key_digest(*number), workflow_name(*number)?)))
            .collect::<Result<_>>()?;
        let started = Instant::now();
        for (digest, name) in &names {
            let snapshot = store.current();
            let found = snapshot.key(digest).zip(snapshot.workflow(name));
            black_box(found.context("not there")?);
        }
        Ok(started.elapsed())
    })?;
    let spool = IntakeSpool::open(dir.path(), &IntakeSpoolConfig::default())?;
    let ingest = Ingest {
        config: store.clone(),
        spool: Arc::new(spool),
        certificates: Certificates::new(EgressPolicy::default())?,
        trust: TrustPolicy::default(),
        deduplication_window: Duration::from_secs(7 * 24 * 3600),
        budget: Budget::default(),
    };
    let authorize_ns = timed(|| {
        let heads: Vec<_> = wanted
            .iter()
            .map(|number| head(*number))
            .collect::<Result<_>>()?;
        let started = Instant::now();
        for head in heads {
            let authorized = ingest.authorize(head);
            black_box(authorized.map_err(|refused| anyhow!("{:?}", refused.problem))?);
        }
        Ok(started.elapsed())
    })?;
    let found = LookUp {
        count: args.count,
        find_ns,
        authorize_ns,
        resident_mib,
        change_ms,
    };
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

/// Nanoseconds of one call: the median of several turns.
fn timed(mut turn: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let turns: Vec<f64> = (0..TURNS)
        .map(|_| Ok(turn()?.as_nanos() as f64 / CALLS as f64))
        .collect::<Result<_>>()?;
    Ok(median(turns))
}

fn key_value(number: usize) -> String {
    format!("sbk_{number:043}")
}

fn key_digest(number: usize) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, key_value(number).as_bytes()).as_ref());
    KeyDigest(bytes)
}

fn workflow_name(number: usize) -> Result<WorkflowName> {
    Ok(format!("projects/default/workflows/orders-{number}").parse()?)
}

fn head(number: usize) -> Result<Head> {
    let workflow = workflow_name(number)?;
    let uri: Uri = format!("/v1/{workflow}/sns?x-api-key={}", key_value(number)).parse()?;
    Ok(Head {
        kind: Kind::Sns,
        workflow,
        headers: HeaderMap::new(),
        uri,
        source: IpAddr::from([127, 0, 0, 1]),
        is_source_clear: true,
        received_at: Timestamp::now(),
    })
}

/// A key and a workflow that it may call, for each number.
fn change(revision: u64, numbers: std::ops::Range<usize>) -> Result<Change> {
    let mut upserts = Vec::with_capacity(numbers.len() * 2);
    for number in numbers {
        let key = KeyConfig {
            name: format!("projects/default/apiKeys/key-{number}").parse()?,
            digest: key_digest(number),
            revoked: false,
            expires_at: None,
            rate_limit: None,
            scope: None,
            previous: None,
        };
        let key = convert::config::key_to_wire(&key);
        let spec = spec(number)?.encode_to_vec();
        let workflow = convert::config::workflow_to_wire(
            &workflow_name(number)?,
            true,
            Some((1, &spec)),
            None,
        )?;
        for resource in [key, workflow] {
            let encoded = Bytes::from(resource.encode_to_vec());
            upserts.push(Upsert {
                name: convert::config::name_of(&resource).to_owned(),
                resource: decode_resource(&encoded).map_err(|reason| anyhow!(reason))?,
                encoded,
            });
        }
    }
    Ok(Change {
        incarnation: "bench".to_owned(),
        revision: Revision(revision),
        replaces_all: false,
        upserts,
        deletes: Vec::new(),
        keep: Vec::new(),
    })
}

fn spec(number: usize) -> Result<v1::WorkflowSpec> {
    let step = v1::Step {
        id: "done".to_owned(),
        action: Some(v1::step::Action::Succeed(v1::SucceedStep::default())),
        ..Default::default()
    };
    Ok(v1::WorkflowSpec {
        trigger: Some(v1::Trigger {
            kind: Some(v1::trigger::Kind::AmazonSns(v1::AmazonSnsTrigger {
                api_keys: vec![format!("key-{number}")],
                topic_arns: vec![TOPIC.to_owned()],
                ..Default::default()
            })),
        }),
        steps: vec![step],
        ..Default::default()
    })
}
