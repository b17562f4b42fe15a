//! What people use today, as processes: n8n, and a receiver written with FastAPI. Both on the loopback, as their own
//! documentation says they are run, and told to call nobody.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use signalbox_tests::{
    process::{Process, free_port, root},
    wait,
};

use crate::{machine, subject::Ground};

const START_LIMIT: Duration = Duration::from_secs(180);
/// n8n's id of the workflow in `n8n-workflow.json`.
const N8N_WORKFLOW: &str = "signalboxbench01";

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// n8n's webhook that answers at once; SQLite, as it comes.
    N8n,
    /// FastAPI on uvicorn, the signature checked, one SQLite commit for each message.
    Fastapi,
}

/// A peer, running or not; its data stays until it is dropped.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) addr: SocketAddr,
    dir: tempfile::TempDir,
    origin: String,
    process: Option<Process>,
}

/// Installs a peer, if it is not there.
pub(crate) fn install(kind: Kind) -> Result<()> {
    let name = match kind {
        Kind::N8n => "n8n",
        Kind::Fastapi => "fastapi",
    };
    let status = Command::new(files().join("setup")).arg(name).status()?;
    ensure!(status.success(), "{name} could not be installed");
    Ok(())
}

fn files() -> PathBuf {
    root().join("tests/bench/peers")
}

fn tools() -> PathBuf {
    root().join(".tools")
}

impl Peer {
    /// A new one with nothing in it, running.
    pub(crate) async fn start(ground: &Ground, kind: Kind) -> Result<Self> {
        Self::start_with(ground, kind, &files().join("n8n-workflow.json")).await
    }

    /// The same; n8n with the workflow in the file `workflow`.
    async fn start_with(ground: &Ground, kind: Kind, workflow: &Path) -> Result<Self> {
        let mut peer = Self {
            kind,
            addr: ([127, 0, 0, 1], free_port()).into(),
            dir: tempfile::tempdir_in(&ground.dir)?,
            origin: ground.origin.clone(),
            process: None,
        };
        if kind == Kind::N8n {
            peer.n8n(&["import:workflow", "--input"], Some(workflow))?;
            let id = format!("--id={N8N_WORKFLOW}");
            peer.n8n(&["publish:workflow", &id], None)?;
        }
        peer.run().await;
        Ok(peer)
    }

    /// n8n with a workflow of the webhook and one more node, `step` (its type, typeVersion and parameters).
    pub(crate) async fn n8n_with(ground: &Ground, step: &Value) -> Result<Self> {
        let text = std::fs::read(files().join("n8n-workflow.json"))?;
        let mut workflows: Value = serde_json::from_slice(&text)?;
        let node = workflows.pointer_mut("/0/nodes/1");
        let node = node.and_then(Value::as_object_mut);
        let node = node.context("n8n-workflow.json has no second node")?;
        node.extend(step.as_object().context("a node is an object")?.clone());
        let dir = tempfile::tempdir_in(&ground.dir)?;
        let file = dir.path().join("workflow.json");
        std::fs::write(&file, serde_json::to_vec(&workflows)?)?;
        Self::start_with(ground, Kind::N8n, &file).await
    }

    /// Where messages are posted.
    pub(crate) fn target(&self) -> &'static str {
        match self.kind {
            Kind::N8n => "/webhook/sns",
            Kind::Fastapi => "/sns",
        }
    }

    /// Starts it (again), and waits until it takes messages.
    pub(crate) async fn run(&mut self) {
        let mut command = match self.kind {
            Kind::N8n => self.n8n_command(&["start"]),
            Kind::Fastapi => self.fastapi_command(),
        };
        let log = self.dir.path().join("log");
        self.process = Some(Process::start("peer", &log, &mut command));
        let health = format!("http://{}/healthz", self.addr);
        let hook = format!("http://{}{}", self.addr, self.target());
        wait::until("the peer to be ready", START_LIMIT, || async {
            let failed = |error: reqwest::Error| error.to_string();
            let health = reqwest::get(&health).await.map_err(failed)?.status();
            // Whether the route is there: another method is refused, by n8n with 404 and its own words.
            let hook = reqwest::get(&hook).await.map_err(failed)?;
            let text = hook.text().await.map_err(failed)?;
            let is_there = text.contains("Method Not Allowed") || text.contains("Did you mean");
            if health.is_success() && is_there {
                Ok(())
            } else {
                Err(format!("{health} {text}"))
            }
        })
        .await;
    }

    /// SIGKILL, to it and to whatever it has started.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let children = children(process.id());
        process.kill();
        for child in children {
            let _ = Command::new("kill").args(["-KILL", &child]).status();
        }
    }

    /// Process ids whose CPU time and memory are its own.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let Some(process) = &self.process else {
            return Vec::new();
        };
        let children = children(process.id());
        std::iter::once(process.id())
            .chain(children.iter().filter_map(|pid| pid.parse().ok()))
            .collect()
    }

    /// What became of the messages that it knows, by MessageId.
    pub(crate) fn known(&self) -> Result<HashMap<String, String>> {
        let text = match self.kind {
            Kind::N8n => known("n8n", &self.n8n_database())?,
            Kind::Fastapi => known("fastapi", &self.database())?,
        };
        Ok(text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(id, state)| (id.to_owned(), state.to_owned()))
            .collect())
    }

    /// How many executions n8n has ended, well or not.
    pub(crate) fn ended_count(&self) -> Result<u64> {
        let text = known("n8n-count", &self.n8n_database())?;
        text.trim().parse().context("known.py gave no number")
    }

    /// When each execution that went well has ended, as n8n has it (to the millisecond), by MessageId.
    pub(crate) fn ended(&self) -> Result<HashMap<String, Timestamp>> {
        let text = known("n8n-ended", &self.n8n_database())?;
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .map(|(id, time)| Ok((id.to_owned(), time.parse()?)))
            .collect()
    }

    fn n8n_database(&self) -> PathBuf {
        self.dir.path().join(".n8n/database.sqlite")
    }

    fn database(&self) -> PathBuf {
        self.dir.path().join("messages.sqlite")
    }

    fn fastapi_command(&self) -> Command {
        let mut command = Command::new(tools().join("fastapi/bin/python"));
        command
            .args(["receiver.py", &self.addr.port().to_string()])
            .arg(machine::cores().to_string())
            .current_dir(files())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DATABASE", self.database())
            .env("CERTIFICATE_HOST", &self.origin);
        command
    }

    /// Runs one of n8n's commands to its end.
    fn n8n(&self, args: &[&str], file: Option<&Path>) -> Result<()> {
        let mut command = self.n8n_command(args);
        if let Some(file) = file {
            // The last of `args` takes it: `--input=…`.
            command = self.n8n_command(&args[..args.len() - 1]);
            let last = args.last().context("no argument")?;
            command.arg(format!("{last}={}", file.display()));
        }
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "n8n {args:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// n8n with its data here. Everything that would call its makers is off, as its page "Isolate n8n" says; what is
    /// executed stays in the database, so that it can be counted. All else is as it comes.
    fn n8n_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tools().join("n8n/node_modules/.bin/n8n"));
        command
            .args(args)
            .env("N8N_USER_FOLDER", self.dir.path())
            .env("N8N_PORT", self.addr.port().to_string())
            .env("N8N_LISTEN_ADDRESS", "127.0.0.1")
            .env("N8N_HOST", "127.0.0.1")
            .env("N8N_RUNNERS_BROKER_PORT", free_port().to_string())
            .env("N8N_LOG_LEVEL", "warn")
            .env("EXTERNAL_FRONTEND_HOOKS_URLS", "")
            .env("N8N_DIAGNOSTICS_CONFIG_FRONTEND", "")
            .env("N8N_DIAGNOSTICS_CONFIG_BACKEND", "");
        for off in [
            "N8N_DIAGNOSTICS_ENABLED",
            "N8N_VERSION_NOTIFICATIONS_ENABLED",
            "N8N_TEMPLATES_ENABLED",
            "N8N_PERSONALIZATION_ENABLED",
            "N8N_HIRING_BANNER_ENABLED",
            "N8N_DYNAMIC_BANNERS_ENABLED",
            "N8N_COMMUNITY_PACKAGES_ENABLED",
            "N8N_LICENSE_AUTO_RENEW_ENABLED",
            "EXECUTIONS_DATA_PRUNE",
        ] {
            command.env(off, "false");
        }
        command
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What `known.py` says.
fn known(what: &str, file: &Path) -> Result<String> {
    let output = Command::new("python3")
        .arg(files().join("known.py"))
        .arg(what)
        .arg(file)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "known.py: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// The processes that `pid` has started, and they (proc(5): children of the main thread).
fn children(pid: u32) -> Vec<String> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let own: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    let theirs = own
        .iter()
        .filter_map(|pid| pid.parse().ok())
        .flat_map(children);
    own.iter().cloned().chain(theirs).collect()
}
