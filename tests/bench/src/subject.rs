//! What is measured: servers, each a process of its own, fresh for each measurement.
//!
//! Fresh, because a Signalbox node goes on executing what it took after it answered: what one measurement left behind
//! would be paid for by the next one.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde::{Deserialize, Serialize};
use signalbox_tests::{
    planes::{DataPlane, Options, Planes},
    process::{Process, free_port},
    wait,
};

use crate::{
    bare::Verify,
    corpus::{Corpus, Key, TOPIC},
    request::{Template, WORKFLOW},
};

const START_LIMIT: Duration = Duration::from_secs(30);
const DRAINED_EVERY: Duration = Duration::from_millis(50);

/// What is compared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    /// Bare hyper, answering 200 once it has read the body.
    Hyper,
    /// The same after one verification.
    Verify,
    /// Signalbox, whole: key, signature, deduplication, fdatasync, and its executions beside.
    Signalbox,
    /// The same with its executions held back: what the answer alone costs.
    Held,
    /// Signalbox, whole, over TLS.
    Tls,
}

impl Variant {
    /// The letter in tables.
    pub(crate) fn letter(self) -> &'static str {
        match self {
            Self::Hyper => "a",
            Self::Verify => "b",
            Self::Signalbox => "c",
            Self::Held => "c, executions held back",
            Self::Tls => "d",
        }
    }

    /// What it is, for a plot's legend.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Hyper => "a: bare hyper",
            Self::Verify => "b: + RSA verification",
            Self::Signalbox => "c: Signalbox",
            Self::Held => "c, executions held back",
            Self::Tls => "d: Signalbox, TLS",
        }
    }
}

/// What is the same for all of a run.
pub(crate) struct Ground {
    pub(crate) key: Key,
    /// Folder on the disk that is measured.
    pub(crate) dir: PathBuf,
    /// The trusted SNS.
    pub(crate) origin: String,
    /// A service that never answers.
    pub(crate) silence: String,
}

/// A running server.
pub(crate) struct Subject {
    pub(crate) addr: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
    server: Server,
    /// Path and query that messages go to.
    pub(crate) target: String,
}

enum Server {
    Bare {
        process: Process,
        _dir: tempfile::TempDir,
    },
    Signalbox(Box<Planes>),
}

impl Subject {
    /// Starts one; Signalbox with `workflows` workflows.
    pub(crate) async fn start(
        ground: &Ground,
        variant: Variant,
        corpus: &Corpus,
        workflows: u32,
    ) -> Result<Self> {
        match variant {
            Variant::Hyper => bare(ground, None).await,
            Variant::Verify => {
                let template = Template::new(corpus, &ground.key, &ground.origin, "x", "/")?;
                let verify = Verify::new(template.layout, &ground.key)?;
                bare(ground, Some(verify)).await
            }
            Variant::Signalbox => {
                signalbox(ground, Options::default(), "succeed: {}", workflows).await
            }
            Variant::Held => {
                // One execution at a time, and the first one waits for an answer that never comes.
                let options = Options {
                    data_plane: vec!["--executions-max".into(), "1".into()],
                    ..Options::default()
                };
                let step = format!("timeout: 600s\n    http:\n      url: {}", ground.silence);
                signalbox(ground, options, &step, workflows).await
            }
            Variant::Tls => {
                let files = TlsFiles::write(&ground.dir)?;
                let options = Options {
                    data_plane: vec![
                        "--tls-cert".into(),
                        files.certificate.display().to_string(),
                        "--tls-key".into(),
                        files.key.display().to_string(),
                    ],
                    ..Options::default()
                };
                let mut subject = signalbox(ground, options, "succeed: {}", workflows).await?;
                subject.tls = Some(files.client);
                Ok(subject)
            }
        }
    }

    /// Signalbox, whole, with one workflow whose one step is `step` (YAML, indented by four spaces from its second line on).
    pub(crate) async fn with_step(ground: &Ground, step: &str) -> Result<Self> {
        signalbox(ground, Options::default(), step, 1).await
    }

    /// The process that answers.
    pub(crate) fn pid(&mut self) -> u32 {
        match &mut self.server {
            Server::Bare { process, .. } => process.id(),
            Server::Signalbox(planes) => planes.data.process().id(),
        }
    }

    /// The control plane's process, if there is one.
    pub(crate) fn control_pid(&mut self) -> Option<u32> {
        match &mut self.server {
            Server::Bare { .. } => None,
            Server::Signalbox(planes) => Some(planes.control.process().id()),
        }
    }

    /// The planes, if it is a Signalbox.
    pub(crate) fn planes(&mut self) -> Option<&mut Planes> {
        match &mut self.server {
            Server::Bare { .. } => None,
            Server::Signalbox(planes) => Some(planes),
        }
    }

    /// A metric of the node: the sum of its series.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        match &self.server {
            Server::Bare { .. } => None,
            Server::Signalbox(planes) => Some(sum(&planes.data.metrics().await, name)),
        }
    }
}

/// When `executions` had ended at the node and the control plane had acknowledged all that it has to report. It asks the
/// node, which knows both as they happen: asking the control plane for thousands of executions would be load.
///
/// # Errors
/// When that is not so within `limit`.
pub(crate) async fn drained(data: &DataPlane, executions: u64, limit: Duration) -> Result<Instant> {
    let limit = Instant::now() + limit;
    let mut last = None;
    loop {
        let looked_at = Instant::now();
        let metrics = data.metrics().await;
        let ended = sum(&metrics, "signalbox_executions_total");
        // Sequences begin at 1, so that the last one is also how many there are.
        let sent = sum(&metrics, "signalbox_report_sent_records_total");
        let durable = sum(&metrics, "signalbox_report_durable_sequence");
        if ended >= executions as f64 && sent > 0.0 && sent <= durable {
            // Once more: the last of them may not have been sent when it was looked.
            match last {
                Some((records, at)) if records == durable => return Ok(at),
                _ => last = Some((durable, looked_at)),
            }
        }
        if looked_at > limit {
            bail!("{ended} of {executions} executions ended; {durable} of {sent} records reported");
        }
        tokio::time::sleep(DRAINED_EVERY).await;
    }
}

/// The sum of a metric's series in Prometheus text.
pub(crate) fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with(['{', ' ']))
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

async fn bare(ground: &Ground, verify: Option<Verify>) -> Result<Subject> {
    let addr: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let dir = tempfile::tempdir_in(&ground.dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bare", "--listen", &addr.to_string()]);
    if let Some(verify) = verify {
        let file = dir.path().join("verify.json");
        std::fs::write(&file, serde_json::to_vec(&verify)?)?;
        command.arg("--verify").arg(file);
    }
    let process = Process::start("bare server", &dir.path().join("log"), &mut command);
    wait::until("the bare server", START_LIMIT, || async move {
        let stream = tokio::net::TcpStream::connect(addr).await;
        stream.map(drop).map_err(|error| error.to_string())
    })
    .await;
    Ok(Subject {
        addr,
        tls: None,
        server: Server::Bare { process, _dir: dir },
        target: format!("/v1/projects/default/workflows/{WORKFLOW}/sns?x-api-key=none"),
    })
}

/// Both planes with a key and so many workflows of one step.
async fn signalbox(
    ground: &Ground,
    options: Options,
    step: &str,
    workflows: u32,
) -> Result<Subject> {
    let mut options = Options {
        dir_in: Some(ground.dir.clone()),
        ..options
    };
    options
        .data_plane
        .extend(["--sns-trusted-origin".into(), ground.origin.clone()]);
    let (planes, api) = Planes::start(options).await;
    let key = api.create_key("bench").await;
    let spec = format!(
        "trigger:\n  amazonSns:\n    apiKeys: [bench]\n    topicArns: [\"{TOPIC}\"]\n\
         steps:\n  - id: done\n    {step}\n"
    );
    for number in 0..workflows {
        api.create_workflow(&format!("bench-{number:04}"), &spec)
            .await;
    }
    api.synced(START_LIMIT).await;
    Ok(Subject {
        addr: planes.data.addr(),
        tls: None,
        server: Server::Signalbox(Box::new(planes)),
        target: format!("/v1/projects/default/workflows/{WORKFLOW}/sns?x-api-key={key}"),
    })
}

struct TlsFiles {
    certificate: PathBuf,
    key: PathBuf,
    client: Arc<rustls::ClientConfig>,
}

impl TlsFiles {
    fn write(dir: &Path) -> Result<Self> {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let (certificate, key) = (dir.join("tls.pem"), dir.join("tls.key"));
        std::fs::write(&certificate, cert.pem())?;
        std::fs::write(&key, signing_key.serialize_pem())?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(cert.der().clone())?;
        let client = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            certificate,
            key,
            client: Arc::new(client),
        })
    }
}
