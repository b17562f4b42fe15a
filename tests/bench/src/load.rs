//! The load: a closed loop of keep-alive connections that post distinct messages as fast as they are answered; or an open
//! one, in which each message has its time.
//!
//! It shares the machine with what it measures, so it does as little as it can: one thread for each core, a runtime of
//! its own in each, requests that are patched rather than built, and a reader that knows HTTP/1.1 just far enough.

pub(crate) mod answer;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Barrier, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Barrier as AsyncBarrier,
};
use tokio_rustls::TlsConnector;

use self::answer::Answers;
use crate::{corpus::Corpus, machine, request::Template, subject::Ground};

/// The longest latency that is told apart from longer ones.
const LATENCY_MAX_US: u64 = 120_000_000;
/// No load is worth longer, unless it says so.
const DURATION_MAX: Duration = Duration::from_secs(300);

/// Which load.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) corpus: Arc<Corpus>,
    pub(crate) template: Template,
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    pub(crate) connections: usize,
    /// It ends after this time …
    pub(crate) duration: Duration,
    /// … or after this many requests.
    pub(crate) requests_max: u64,
    /// Number of the first request: message and workflow follow from it.
    pub(crate) first: u64,
    pub(crate) spread: Spread,
    /// Requests a second, each sent at its time if a connection is free then; none: each connection sends its next one as
    /// soon as it was answered.
    pub(crate) pace_per_s: Option<f64>,
    /// Whether what was acknowledged is kept.
    pub(crate) keep_acknowledged: bool,
}

/// A request that was acknowledged.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) number: u64,
    /// When its first byte was written.
    pub(crate) at: Timestamp,
    /// How long after its time that was, in microseconds.
    pub(crate) late_us: u64,
}

impl Load {
    /// All messages of `corpus`, in order and each once, to `target` (path and query) at `addr`.
    pub(crate) fn of(
        ground: &Ground,
        corpus: &Arc<Corpus>,
        addr: SocketAddr,
        target: &str,
        connections: usize,
    ) -> Result<Self> {
        let host = addr.to_string();
        Ok(Self {
            corpus: corpus.clone(),
            template: Template::new(corpus, &ground.key, &ground.origin, &host, target)?,
            addr,
            tls: None,
            connections,
            duration: DURATION_MAX,
            requests_max: corpus.count,
            first: 0,
            spread: Spread::Laps,
            pace_per_s: None,
            keep_acknowledged: false,
        })
    }

    /// The first `count` requests, and those after them to the end of the corpus.
    pub(crate) fn halves(self, count: u64) -> (Self, Self) {
        let rest = Self {
            first: self.first + count,
            requests_max: self.corpus.count - self.first - count,
            ..self.clone()
        };
        let head = Self {
            requests_max: count,
            ..self
        };
        (head, rest)
    }
}

/// Which workflow takes which message.
#[derive(Clone, Copy)]
pub(crate) enum Spread {
    /// One takes the whole corpus, then the next one: a message that was sent to another workflow is no duplicate.
    Laps,
    /// So many take turns.
    Turns(u32),
}

impl Spread {
    fn workflow(self, number: u64, corpus: &Corpus) -> u32 {
        match self {
            Self::Laps => (number / corpus.count) as u32,
            Self::Turns(workflows) => (number % u64::from(workflows)) as u32,
        }
    }
}

/// What came of it.
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    /// Answers that were no 200, duplicates, and connections that broke.
    pub(crate) errors: u64,
    /// The first of them.
    pub(crate) first_error: Option<String>,
    pub(crate) elapsed: Duration,
    /// In microseconds.
    pub(crate) latencies: Histogram<u64>,
    /// Those that were acknowledged, if they were to be kept.
    pub(crate) sent: Vec<Sent>,
}

impl Outcome {
    fn new() -> Result<Self> {
        Ok(Self {
            acknowledged: 0,
            errors: 0,
            first_error: None,
            elapsed: Duration::ZERO,
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
                .map_err(|error| anyhow!("{error:?}"))?,
            sent: Vec::new(),
        })
    }

    fn fail(&mut self, what: String) {
        self.errors += 1;
        self.first_error.get_or_insert(what);
    }

    fn add(&mut self, other: Self) -> Result<()> {
        self.acknowledged += other.acknowledged;
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error = other.first_error;
        }
        self.latencies
            .add(&other.latencies)
            .map_err(|error| anyhow!("{error:?}"))?;
        self.sent.extend(other.sent);
        Ok(())
    }

    /// Requests per second.
    pub(crate) fn rate(&self) -> f64 {
        self.acknowledged as f64 / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latencies, in microseconds.
    pub(crate) fn quantile_us(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64
    }
}

/// What the connections of a run share.
struct Shared {
    load: Load,
    next: AtomicU64,
    stop: AtomicBool,
    /// When the first request was sent.
    began: OnceLock<Instant>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until it is time for the request `number`; gives how late it is then, in microseconds.
    async fn time_of(&self, number: u64) -> u64 {
        let Some(pace) = self.load.pace_per_s else {
            return 0;
        };
        let began = *self.began.get_or_init(Instant::now);
        let due = began + Duration::from_secs_f64((number - self.load.first) as f64 / pace);
        tokio::time::sleep_until(due.into()).await;
        due.elapsed().as_micros() as u64
    }
}

/// A running load.
pub(crate) struct Running {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<Result<Outcome>>,
}

impl Running {
    /// Requests that were begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.shared.next.load(Ordering::Relaxed) - self.shared.load.first
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Its end.
    pub(crate) async fn outcome(self) -> Result<Outcome> {
        self.task.await?
    }
}

/// Plays `load` to its end.
pub(crate) async fn play(load: Load) -> Result<Outcome> {
    start(load).outcome().await
}

/// Starts `load` in threads of its own.
pub(crate) fn start(load: Load) -> Running {
    let shared = Arc::new(Shared {
        next: AtomicU64::new(load.first),
        stop: AtomicBool::new(false),
        began: OnceLock::new(),
        load,
    });
    let of_task = shared.clone();
    let task = tokio::task::spawn_blocking(move || threads(&of_task));
    Running { shared, task }
}

fn threads(shared: &Arc<Shared>) -> Result<Outcome> {
    let connections = shared.load.connections;
    let threads = machine::cores().min(connections);
    let ready = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let own = (thread..connections).step_by(threads).count();
                let ready = &ready;
                scope.spawn(move || -> Result<Outcome> {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()?;
                    runtime.block_on(several(shared, own, ready))
                })
            })
            .collect();
        ready.wait();
        let started = Instant::now();
        let mut all = Outcome::new()?;
        for handle in handles {
            let own = handle.join().map_err(|_| anyhow!("a thread panicked"))??;
            all.add(own)?;
        }
        all.elapsed = started.elapsed();
        Ok(all)
    })
}

/// The connections of one thread.
async fn several(shared: &Arc<Shared>, connections: usize, ready: &Barrier) -> Result<Outcome> {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let connected = Arc::new(AsyncBarrier::new(connections + 1));
            let tasks: Vec<_> = (0..connections)
                .map(|_| {
                    let (shared, connected) = (shared.clone(), connected.clone());
                    tokio::task::spawn_local(async move { connection(&shared, &connected).await })
                })
                .collect();
            connected.wait().await;
            // All threads begin at once; only this one's connections wait here, and they have nothing to do yet.
            ready.wait();
            let ends = tokio::time::sleep(shared.load.duration);
            let every = async {
                let mut all = Outcome::new()?;
                for task in tasks {
                    all.add(task.await??)?;
                }
                Ok::<_, anyhow::Error>(all)
            };
            tokio::pin!(every);
            tokio::select! {
                all = &mut every => all,
                () = ends => {
                    shared.stop.store(true, Ordering::Relaxed);
                    every.await
                }
            }
        })
        .await
}

async fn connection(shared: &Shared, connected: &AsyncBarrier) -> Result<Outcome> {
    let load = &shared.load;
    let connect = async {
        let stream = TcpStream::connect(load.addr).await?;
        stream.set_nodelay(true)?;
        Ok::<_, anyhow::Error>(stream)
    };
    let stream = connect.await;
    let Some(tls) = &load.tls else {
        connected.wait().await;
        return drive(shared, stream?).await;
    };
    let secured = async {
        let name = ServerName::try_from(load.addr.ip().to_string())?;
        let connector = TlsConnector::from(tls.clone());
        Ok::<_, anyhow::Error>(connector.connect(name, stream?).await?)
    };
    let stream = secured.await;
    connected.wait().await;
    drive(shared, stream?).await
}

async fn drive(
    shared: &Shared,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<Outcome> {
    let load = &shared.load;
    let (mut template, mut answers) = (load.template.clone(), Answers::default());
    let mut outcome = Outcome::new()?;
    let end = load.first + load.requests_max;
    while !shared.is_over() {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            break;
        }
        let workflow = load.spread.workflow(number, &load.corpus);
        let request = template.fill(&load.corpus, number % load.corpus.count, workflow);
        let late_us = shared.time_of(number).await;
        let (sent, at) = (Instant::now(), Timestamp::now());
        let answer = async {
            stream.write_all(request).await.context("sending")?;
            stream.flush().await.context("sending")?;
            answers.next(&mut stream).await
        };
        match answer.await {
            Ok(answer) if answer.status == 200 && !answer.is_duplicate => {
                let took = sent.elapsed().as_micros();
                outcome.latencies.saturating_record(took as u64);
                outcome.acknowledged += 1;
                if load.keep_acknowledged {
                    outcome.sent.push(Sent {
                        number,
                        at,
                        late_us,
                    });
                }
            }
            Ok(answer) => outcome.fail(answer.text),
            Err(error) => {
                outcome.fail(format!("{error:#}"));
                break;
            }
        }
    }
    Ok(outcome)
}
