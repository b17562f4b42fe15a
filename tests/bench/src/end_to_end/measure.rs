//! One server with one workflow: as fast as it goes, and at given rates.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_proto::{
    convert::time,
    v1::{Execution, ExecutionState, WatchExecutionsRequest},
};
use signalbox_tests::api::Api;
use tokio::task::JoinHandle;

use super::{EndToEndArgs, Latency, Measured, Paced, Step, Who};
use crate::{
    corpus::{Corpus, message_id},
    load::{self, Load, Outcome, Sent},
    peers::Peer,
    process_stats::{Cpu, Memory},
    subject::{Ground, Subject, drained},
};

/// Messages before anything is measured.
pub(super) const WARM_UP: u64 = 200;
const PEER_WARM_UP: u64 = 20;
/// How long everything may take to end after the last answer.
const LIMIT: Duration = Duration::from_secs(600);
/// How long it may take after the last answer until all is seen, at a rate that the server keeps up with.
const SEEN_LIMIT: Duration = Duration::from_secs(60);
/// n8n's database is asked by a process of its own: seldom, since it shares the cores.
const PEER_LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of what it sustains, how much n8n is asked for at most when latencies are measured.
const PEER_LOAD_MAX: f64 = 0.9;
const SUCCEEDED: &str = r#"state == "SUCCEEDED""#;

/// What is the same for all servers.
pub(super) struct Plan<'a> {
    pub(super) args: &'a EndToEndArgs,
    pub(super) ground: &'a Ground,
    pub(super) corpus: &'a Arc<Corpus>,
    /// What `http` steps call.
    pub(super) service: String,
}

impl Plan<'_> {
    /// A fresh server, measured.
    pub(super) async fn measure(&self, who: Who, step: Step) -> Result<Measured> {
        match who {
            Who::Signalbox => self.signalbox(step).await,
            Who::N8n => self.n8n(step).await,
        }
        .with_context(|| format!("{}, {}", who.name(), step.name()))
    }

    async fn signalbox(&self, step: Step) -> Result<Measured> {
        let mut signalbox = Signalbox::start(self, step).await?;
        let load = self.load(signalbox.subject.addr, &signalbox.subject.target)?;
        let mut sent = play(of(&load, 0, WARM_UP)).await?.acknowledged;
        signalbox.drained(sent).await?;
        let before = signalbox.cpu_us()?;
        let started = Instant::now();
        let outcome = play(of(&load, WARM_UP, self.args.messages)).await?;
        sent += outcome.acknowledged;
        let elapsed = signalbox.drained(sent).await?.duration_since(started);
        let cpu_us = signalbox.cpu_us()? - before;
        let succeeded = signalbox.api.all_executions(SUCCEEDED).await?.len() as u64;
        let mut measured = Measured {
            who: Who::Signalbox,
            step,
            per_s: outcome.acknowledged as f64 / elapsed.as_secs_f64(),
            answered_per_s: outcome.rate(),
            cpu_us: cpu_us / outcome.acknowledged as f64,
            resident_mib: signalbox.resident_mib()?,
            errors: (outcome.errors + sent.abs_diff(succeeded)) as f64,
            paced: Vec::new(),
        };
        let mut first = WARM_UP + self.args.messages;
        for rate in &self.args.rates {
            let count = self.args.paced(*rate);
            let watch = watch(signalbox.api.clone(), count).await?;
            let outcome = play(paced(of(&load, first, count), *rate)).await?;
            let seen = tokio::time::timeout(SEEN_LIMIT, watch)
                .await
                .context("not all executions were seen to succeed")???;
            measured.errors += (outcome.errors + missing(&outcome, &seen)) as f64;
            measured
                .paced
                .push(of_signalbox(*rate, &outcome.sent, &seen));
            first += count;
        }
        Ok(measured)
    }

    async fn n8n(&self, step: Step) -> Result<Measured> {
        let peer = Peer::n8n_with(self.ground, &self.n8n_step(step)).await?;
        let load = self.load(peer.addr, peer.target())?;
        let mut sent = play(of(&load, 0, PEER_WARM_UP)).await?.acknowledged;
        settled(&peer, sent).await?;
        let before = cpu_us(&peer.pids())?;
        let outcome = play(of(&load, PEER_WARM_UP, self.args.peer_messages)).await?;
        sent += outcome.acknowledged;
        settled(&peer, sent).await?;
        let cpu_us = cpu_us(&peer.pids())? - before;
        let ended = peer.ended()?;
        let last = outcome.sent.iter().filter_map(|sent| end(sent, &ended));
        let last = last.max().context("nothing succeeded")?;
        let first = outcome.sent.iter().map(|sent| sent.at).min();
        let took = ms(first.context("nothing was sent")?, last) / 1000.0;
        let mut measured = Measured {
            who: Who::N8n,
            step,
            per_s: outcome.acknowledged as f64 / took,
            answered_per_s: outcome.rate(),
            cpu_us: cpu_us / outcome.acknowledged as f64,
            resident_mib: resident_mib(&peer.pids())?,
            errors: (outcome.errors + missing(&outcome, &ended)) as f64,
            paced: Vec::new(),
        };
        let mut first = PEER_WARM_UP + self.args.peer_messages;
        for rate in &self.args.rates {
            if *rate > measured.per_s * PEER_LOAD_MAX {
                continue;
            }
            let count = self.args.paced(*rate);
            let outcome = play(paced(of(&load, first, count), *rate)).await?;
            sent += outcome.acknowledged;
            settled(&peer, sent).await?;
            let ended = peer.ended()?;
            measured.errors += (outcome.errors + missing(&outcome, &ended)) as f64;
            measured.paced.push(of_n8n(*rate, &outcome.sent, &ended));
            first += count;
        }
        Ok(measured)
    }

    fn load(&self, addr: SocketAddr, target: &str) -> Result<Load> {
        let load = Load::of(
            self.ground,
            self.corpus,
            addr,
            target,
            self.args.connections,
        )?;
        Ok(Load {
            duration: LIMIT,
            keep_acknowledged: true,
            ..load
        })
    }

    fn signalbox_step(&self, step: Step) -> String {
        match step {
            Step::Transform => {
                "transform:\n      expression: '\"Hello, \" + event.messageId'".to_owned()
            }
            Step::Http => format!(
                "http:\n      url: {}\n      json: {{id: \"${{{{ event.messageId }}}}\"}}",
                self.service
            ),
        }
    }

    /// The node of n8n that does the same, as its editor makes it.
    fn n8n_step(&self, step: Step) -> Value {
        let id = "$json.headers['x-amz-sns-message-id']";
        match step {
            Step::Transform => json!({
                "type": "n8n-nodes-base.set",
                "typeVersion": 3.4,
                "parameters": {
                    "assignments": {"assignments": [{
                        "id": "5b0c0000-0000-4000-8000-00000000000b",
                        "name": "text",
                        "value": format!("={{{{ 'Hello, ' + {id} }}}}"),
                        "type": "string",
                    }]},
                    "options": {},
                },
            }),
            Step::Http => json!({
                "type": "n8n-nodes-base.httpRequest",
                "typeVersion": 4.2,
                "parameters": {
                    "method": "POST",
                    "url": self.service,
                    "sendBody": true,
                    "bodyParameters": {"parameters": [{"name": "id", "value": format!("={{{{ {id} }}}}")}]},
                    "options": {},
                },
            }),
        }
    }
}

/// `load`, from the message `first` on, `count` of them.
fn of(load: &Load, first: u64, count: u64) -> Load {
    Load {
        first,
        requests_max: count,
        ..load.clone()
    }
}

fn paced(load: Load, per_s: f64) -> Load {
    Load {
        pace_per_s: Some(per_s),
        ..load
    }
}

async fn play(load: Load) -> Result<Outcome> {
    let outcome = load::play(load).await?;
    if let Some(error) = &outcome.first_error {
        eprintln!("{} errors; the first: {error}", outcome.errors);
    }
    ensure!(outcome.acknowledged > 0, "nothing was acknowledged");
    Ok(outcome)
}

/// How many of the acknowledged messages are not in `known`.
fn missing<T>(outcome: &Outcome, known: &HashMap<String, T>) -> u64 {
    let unknown = |sent: &&Sent| !known.contains_key(&message_id(sent.number));
    outcome.sent.iter().filter(unknown).count() as u64
}

fn end(sent: &Sent, ended: &HashMap<String, Timestamp>) -> Option<Timestamp> {
    ended.get(&message_id(sent.number)).copied()
}

/// Milliseconds from one time to another; 0 where that is earlier by less than what clocks are rounded to.
fn ms(from: Timestamp, to: Timestamp) -> f64 {
    (to.duration_since(from).as_secs_f64() * 1000.0).max(0.0)
}

fn sent_late(sent: &[Sent]) -> Latency {
    let late = sent.iter().map(|sent| sent.late_us as f64 / 1000.0);
    Latency::of(late.collect())
}

fn cpu_us(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| Ok(Cpu::of(*pid)?.total_us)).sum()
}

fn resident_mib(pids: &[u32]) -> Result<f64> {
    let all = pids.iter();
    all.map(|pid| Ok(Memory::of(*pid)?.resident_mib)).sum()
}

/// Both planes.
struct Signalbox {
    subject: Subject,
    api: Api,
}

impl Signalbox {
    async fn start(plan: &Plan<'_>, step: Step) -> Result<Self> {
        let mut subject = Subject::with_step(plan.ground, &plan.signalbox_step(step)).await?;
        let api = subject.planes().context("no planes")?.api("viewer");
        Ok(Self { subject, api })
    }

    fn pids(&mut self) -> Vec<u32> {
        let control = self.subject.control_pid();
        std::iter::once(self.subject.pid()).chain(control).collect()
    }

    fn cpu_us(&mut self) -> Result<f64> {
        cpu_us(&self.pids())
    }

    fn resident_mib(&mut self) -> Result<f64> {
        resident_mib(&self.pids())
    }

    async fn drained(&mut self, executions: u64) -> Result<Instant> {
        let planes = self.subject.planes().context("no planes")?;
        drained(&planes.data, executions, LIMIT).await
    }
}

/// An execution that succeeded.
#[derive(Clone, Copy)]
struct Seen {
    ended: Timestamp,
    seen: Timestamp,
}

type Watched = JoinHandle<Result<HashMap<String, Seen>>>;

/// Follows the control plane's stream of executions until so many have succeeded, by MessageId.
async fn watch(api: Api, count: u64) -> Result<Watched> {
    let request = WatchExecutionsRequest {
        parent: "projects/default".to_owned(),
        filter: SUCCEEDED.to_owned(),
        ..WatchExecutionsRequest::default()
    };
    let mut stream = api
        .executions()
        .watch_executions(request)
        .await?
        .into_inner();
    Ok(tokio::spawn(async move {
        let mut all = HashMap::new();
        while (all.len() as u64) < count {
            let execution = stream.message().await?.context("the stream ended")?;
            let seen = Timestamp::now();
            let ended = end_of(&execution)?;
            // It may be sent again.
            all.entry(execution.message_id)
                .or_insert(Seen { ended, seen });
        }
        Ok(all)
    }))
}

fn end_of(execution: &Execution) -> Result<Timestamp> {
    ensure!(
        execution.state() == ExecutionState::Succeeded,
        "the filter let {execution:?} through"
    );
    Ok(time::required("end_time", execution.end_time)?)
}

fn of_signalbox(per_s: f64, sent: &[Sent], known: &HashMap<String, Seen>) -> Paced {
    let both = sent
        .iter()
        .filter_map(|sent| Some((sent.at, *known.get(&message_id(sent.number))?)));
    let (ended, seen): (Vec<f64>, Vec<f64>) = both
        .map(|(at, known)| (ms(at, known.ended), ms(at, known.seen)))
        .unzip();
    Paced {
        per_s,
        executions: ended.len() as u64,
        ended: Latency::of(ended),
        seen: Some(Latency::of(seen)),
        sent_late: sent_late(sent),
    }
}

fn of_n8n(per_s: f64, sent: &[Sent], ended: &HashMap<String, Timestamp>) -> Paced {
    let took: Vec<f64> = sent
        .iter()
        .filter_map(|sent| Some(ms(sent.at, end(sent, ended)?)))
        .collect();
    Paced {
        per_s,
        executions: took.len() as u64,
        ended: Latency::of(took),
        seen: None,
        sent_late: sent_late(sent),
    }
}

/// Waits until n8n has ended `executions`.
async fn settled(peer: &Peer, executions: u64) -> Result<()> {
    let limit = Instant::now() + LIMIT;
    loop {
        let ended = peer.ended_count()?;
        if ended >= executions {
            return Ok(());
        }
        if Instant::now() > limit {
            bail!("{ended} of {executions} executions ended");
        }
        tokio::time::sleep(PEER_LOOK_EVERY).await;
    }
}
