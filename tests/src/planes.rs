//! Both planes as processes.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use signalbox_test_postgres::Postgres;
use tempfile::TempDir;

use crate::{
    api::Api,
    balancer::Balancer,
    process::{Process, binary, free_port},
    wait,
};

const START_LIMIT: Duration = Duration::from_secs(30);
/// With the value `postgres`, control planes have a PostgreSQL database each, in the place of SQLite.
const DATABASE_VARIABLE: &str = "SIGNALBOX_TEST_DATABASE";
/// How many replicas a control plane has, where it has a PostgreSQL database: they listen behind a balancer, so that nodes, the
/// API and each command of the CLI are connected to one or another. Killed and started are all of them together.
const REPLICAS_VARIABLE: &str = "SIGNALBOX_TEST_REPLICAS";
/// What each replica of a control plane has the same of.
const SHARED_FILES: [&str; 1] = ["master.key"];

/// A control plane and its ports, running or not.
#[derive(Debug)]
pub struct ControlPlane {
    /// Where its state is.
    pub data_dir: PathBuf,
    /// `http://127.0.0.1:…` of its API.
    pub endpoint: String,
    port: u16,
    admin_port: u16,
    webhook_url: String,
    extra: Vec<String>,
    process: Option<Process>,
    replicas: Option<Replicas>,
}

/// The other replicas of a control plane.
#[derive(Debug)]
struct Replicas {
    others: Vec<ControlPlane>,
    _balancer: Balancer,
}

impl ControlPlane {
    fn new(dir: &Path, webhook_url: &str, extra: Vec<String>) -> Self {
        let port = free_port();
        Self {
            data_dir: dir.join("control-plane"),
            endpoint: format!("http://127.0.0.1:{port}"),
            port,
            admin_port: free_port(),
            webhook_url: webhook_url.to_owned(),
            extra,
            process: None,
            replicas: None,
        }
    }

    /// The same on a port, where it is given.
    fn listening_on(mut self, port: Option<u16>) -> Self {
        if let Some(port) = port {
            self.port = port;
            self.endpoint = format!("http://127.0.0.1:{port}");
        }
        self
    }

    /// Another one with the same arguments.
    fn another(&self, dir: &Path) -> Self {
        let another = Self::new(dir, &self.webhook_url, self.extra.clone());
        Self {
            data_dir: dir.join(format!("control-plane-{}", another.port)),
            ..another
        }
    }

    /// It and others, `count` in all, behind a balancer.
    fn replicated(mut self, dir: &Path, count: usize, port: Option<u16>) -> Self {
        let others: Vec<_> = (1..count).map(|_| self.another(dir)).collect();
        let ports = std::iter::once(self.port).chain(others.iter().map(|other| other.port));
        let to = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let balancer = Balancer::start(port.unwrap_or(0), to.collect());
        self.endpoint = format!("http://{}", balancer.addr);
        self.replicas = Some(Replicas {
            others,
            _balancer: balancer,
        });
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary("signalbox-control-plane"));
        command
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--admin-listen")
            .arg(format!("127.0.0.1:{}", self.admin_port))
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--public-webhook-url")
            .arg(&self.webhook_url)
            .args(&self.extra);
        command
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) {
        self.spawn_one();
        ready("the control plane", self.admin_port).await;
        self.spawn_others();
        for other in self.others() {
            ready("a replica", other.admin_port).await;
        }
    }

    /// Starts it.
    pub fn spawn(&mut self) {
        self.spawn_one();
        self.spawn_others();
    }

    fn spawn_one(&mut self) {
        assert!(self.process.is_none());
        let log = self.data_dir.with_extension("log");
        self.process = Some(Process::start("control plane", &log, &mut self.command()));
    }

    fn spawn_others(&mut self) {
        let Some(Replicas { others, .. }) = &mut self.replicas else {
            return;
        };
        for other in others {
            share_files(&self.data_dir, &other.data_dir);
            other.spawn_one();
        }
    }

    fn others(&self) -> &[Self] {
        match &self.replicas {
            Some(replicas) => &replicas.others,
            None => &[],
        }
    }

    fn others_mut(&mut self) -> &mut [Self] {
        match &mut self.replicas {
            Some(replicas) => &mut replicas.others,
            None => &mut [],
        }
    }

    /// The running process; where there are replicas, the first.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// What every run of it so far has printed.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.data_dir.with_extension("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        let others = self.others().iter().map(Self::log);
        std::iter::once(log).chain(others).collect()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        for other in self.others_mut() {
            other.kill();
        }
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    pub fn terminate(&mut self, limit: Duration) {
        for other in self.others_mut() {
            other.process().signal_end();
        }
        self.process().terminate(limit);
        for other in self.others_mut() {
            other.process().terminate(limit);
        }
    }

    /// Runs its program with other arguments (`backup`, `move`, …) on its data folder.
    #[must_use]
    pub fn maintain(&self, args: &[&str]) -> std::process::Output {
        Command::new(binary("signalbox-control-plane"))
            .args(args)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .output()
            .unwrap()
    }

    /// Gives it more arguments, from the next start on.
    pub fn add_args(&mut self, args: impl IntoIterator<Item = impl Into<String>>) {
        let args: Vec<String> = args.into_iter().map(Into::into).collect();
        for other in self.others_mut() {
            other.extra.extend(args.clone());
        }
        self.extra.extend(args);
    }

    /// Gives an argument that it has another value, from the next start on.
    pub fn set_arg(&mut self, name: &str, value: &str) {
        let at = self.extra.iter().position(|argument| argument == name);
        value.clone_into(&mut self.extra[at.unwrap() + 1]);
    }

    /// What its `/readyz` says.
    ///
    /// # Errors
    /// What keeps it from answering.
    pub async fn readiness(&self) -> Result<(bool, String), String> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin_port);
        let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
        let is_ready = answer.status().is_success();
        let text = answer.text().await.map_err(|error| error.to_string())?;
        Ok((is_ready, text))
    }

    /// A token for `role` in every project, as an operator makes one.
    #[must_use]
    pub fn token(&self, role: &str) -> String {
        self.token_in("*", role)
    }

    /// The same in one project.
    #[must_use]
    pub fn token_in(&self, project: &str, role: &str) -> String {
        let output = Command::new(binary("signalbox"))
            .args(["token", "create", "--role", role, "--project", project])
            .args(["--ttl", "1h", "--signing-key"])
            .arg(self.data_dir.join("jwt-signing-key.pem"))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// How many replicas each control plane is to have.
fn replicas() -> usize {
    let Ok(count) = std::env::var(REPLICAS_VARIABLE) else {
        return 1;
    };
    let count = count.parse().unwrap();
    let is_postgres = std::env::var(DATABASE_VARIABLE).is_ok_and(|it| it == "postgres");
    assert!(
        is_postgres || count == 1,
        "{REPLICAS_VARIABLE} needs {DATABASE_VARIABLE}=postgres: SQLite has one process"
    );
    count
}

/// Gives a replica what all have the same of.
fn share_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in SHARED_FILES {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// A data plane and its ports, running or not.
#[derive(Debug)]
pub struct DataPlane {
    /// Where its state is.
    pub data_dir: PathBuf,
    /// `http://127.0.0.1:…` of its webhooks.
    pub webhook_url: String,
    port: u16,
    admin_port: u16,
    control_plane: String,
    token_file: PathBuf,
    has_token: bool,
    extra: Vec<String>,
    env: Vec<(String, String)>,
    files_max: Option<u32>,
    process: Option<Process>,
}

impl DataPlane {
    fn command(&self) -> Command {
        let program = binary("signalbox-data-plane");
        let mut command = match self.files_max {
            None => Command::new(program),
            // The shell is gone before the node begins: `exec` leaves one process.
            Some(max) => {
                let mut shell = Command::new("sh");
                shell
                    .arg("-c")
                    .arg(format!("ulimit -n {max} && exec \"$0\" \"$@\""))
                    .arg(program);
                shell
            }
        };
        command
            .arg("--listen")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--admin-listen")
            .arg(format!("127.0.0.1:{}", self.admin_port))
            .arg("--data-dir")
            .arg(&self.data_dir)
            .arg("--control-plane")
            .arg(&self.control_plane)
            .args(["--egress-allow", "127.0.0.0/8"])
            .args(&self.extra)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        if self.has_token {
            command.arg("--token-file").arg(&self.token_file);
        }
        command
    }

    /// Starts it and waits until it is ready (synced, spool writable).
    pub async fn start(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// Waits until it is ready.
    pub async fn ready(&self) {
        ready("the data plane", self.admin_port).await;
    }

    /// Starts it.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none());
        let log = self.data_dir.with_extension("log");
        self.process = Some(Process::start("data plane", &log, &mut self.command()));
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// What `spool inspect` says of it, once it has ended.
    ///
    /// # Panics
    /// When it says nothing.
    #[must_use]
    pub fn inspect(&self) -> serde_json::Value {
        let output = Command::new(binary("signalbox-data-plane"))
            .args(["spool", "inspect", "--json", "--data-dir"])
            .arg(&self.data_dir)
            .output()
            .unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What every run of it so far has printed.
    #[must_use]
    pub fn log(&self) -> String {
        let log = std::fs::read(self.data_dir.with_extension("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Where it takes webhooks.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Gives it more arguments, from the next start on.
    pub fn add_args(&mut self, args: impl IntoIterator<Item = impl Into<String>>) {
        self.extra.extend(args.into_iter().map(Into::into));
    }

    /// Gives it another environment beside the tests' own, from the next start on.
    pub fn set_env(&mut self, env: impl IntoIterator<Item = (String, String)>) {
        self.env = env.into_iter().collect();
    }

    /// Gives it no token of ours, from the next start on: it has one by its own means.
    pub fn without_token(&mut self) {
        self.has_token = false;
    }

    /// What its `/readyz` says of one check: whether it holds, and the detail.
    ///
    /// # Errors
    /// What keeps it from answering, or the whole answer when there is no such check.
    pub async fn check(&self, name: &str) -> Result<(bool, String), String> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin_port);
        let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let all: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        let checks = all["checks"].as_array().into_iter().flatten();
        let check = checks.into_iter().find(|check| check["name"] == name);
        let check = check.ok_or(text)?;
        let detail = check["detail"].as_str().unwrap_or_default().to_owned();
        Ok((check["ok"] == true, detail))
    }

    /// A URL of its admin listener.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.admin_port)
    }

    /// Gives the spool its ordinary limit from the next start on.
    pub fn raise_spool_max(&mut self) {
        if let Some(at) = self.extra.iter().position(|of| of == "--spool-max-bytes") {
            self.extra.drain(at..at + 2);
        }
    }

    /// Its metrics as Prometheus text.
    pub async fn metrics(&self) -> String {
        reqwest::get(self.admin_url("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }
}

async fn ready(what: &str, admin_port: u16) {
    let url = format!("http://127.0.0.1:{admin_port}/readyz");
    wait::until(&format!("{what} to be ready"), START_LIMIT, || {
        let url = url.clone();
        async move {
            let answer = reqwest::get(url).await.map_err(|error| error.to_string())?;
            if answer.status().is_success() {
                Ok(())
            } else {
                Err(answer.text().await.unwrap_or_default())
            }
        }
    })
    .await;
}

/// What differs between tests.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More arguments of the control plane.
    pub control_plane: Vec<String>,
    /// More arguments of the data plane.
    pub data_plane: Vec<String>,
    /// More of the data plane's environment.
    pub data_plane_env: Vec<(String, String)>,
    /// What the data plane takes for the control plane's address, when something stands between.
    pub control_plane_seen_as: Option<String>,
    /// The control plane has SQLite, whatever the others have.
    pub sqlite: bool,
    /// The control plane is one process, whatever the others are: what is tried is what one process remembers, or is told by a signal.
    pub one_replica: bool,
    /// File descriptors that the data plane may have (`ulimit -n`).
    pub data_plane_files_max: Option<u32>,
    /// Port of the control plane, when it must be known before.
    pub control_plane_port: Option<u16>,
    /// Folder that the temporary folder is made in, where the system's own will not do (it may be no disk).
    pub dir_in: Option<PathBuf>,
}

/// Both planes in a temporary folder.
#[derive(Debug)]
pub struct Planes {
    /// The control plane.
    pub control: ControlPlane,
    /// The data plane.
    pub data: DataPlane,
    /// The control plane's database, where it is none in its folder.
    postgres: Option<Postgres>,
    dir: TempDir,
}

impl Planes {
    /// Neither is started.
    #[must_use]
    pub fn new(options: Options) -> Self {
        install_crypto();
        let dir = match &options.dir_in {
            Some(parent) => tempfile::tempdir_in(parent).unwrap(),
            None => tempfile::tempdir().unwrap(),
        };
        let webhook_port = free_port();
        let webhook_url = format!("http://127.0.0.1:{webhook_port}");
        let mut extra = options.control_plane;
        let is_given = extra.iter().any(|argument| argument == "--database-url");
        let is_postgres = std::env::var(DATABASE_VARIABLE).is_ok_and(|it| it == "postgres");
        let postgres = (is_postgres && !is_given && !options.sqlite).then(Postgres::start);
        if let Some(postgres) = &postgres {
            extra.extend(["--database-url".to_owned(), postgres.url()]);
        }
        let control = ControlPlane::new(dir.path(), &webhook_url, extra);
        let port = options.control_plane_port;
        let control = match (replicas(), &postgres) {
            (2.., Some(_)) if !options.one_replica => {
                control.replicated(dir.path(), replicas(), port)
            }
            _ => control.listening_on(port),
        };
        let endpoint = control.endpoint.clone();
        let data = DataPlane {
            data_dir: dir.path().join("data-plane"),
            webhook_url,
            port: webhook_port,
            admin_port: free_port(),
            control_plane: options.control_plane_seen_as.unwrap_or(endpoint),
            token_file: dir.path().join("data-plane.token"),
            has_token: true,
            extra: options.data_plane,
            env: options.data_plane_env,
            files_max: options.data_plane_files_max,
            process: None,
        };
        Self {
            control,
            data,
            postgres,
            dir,
        }
    }

    /// Both running and ready, with an admin's API.
    pub async fn start(options: Options) -> (Self, Api) {
        let mut planes = Self::new(options);
        planes.control.start().await;
        planes.write_node_token();
        planes.data.start().await;
        let api = planes.api("admin");
        (planes, api)
    }

    /// Writes the data plane's token file.
    pub fn write_node_token(&self) {
        std::fs::write(&self.data.token_file, self.control.token("data-plane")).unwrap();
    }

    /// The API with a token for `role`.
    #[must_use]
    pub fn api(&self, role: &str) -> Api {
        Api::new(&self.control.endpoint, &self.control.token(role))
    }

    /// The control plane's PostgreSQL, where it has one of its own.
    #[must_use]
    pub fn postgres(&self) -> Option<&Postgres> {
        self.postgres.as_ref()
    }

    /// A replica of the control plane, which must have been started once; not started.
    #[must_use]
    pub fn replica(&self) -> ControlPlane {
        let replica = self.stranger();
        share_files(&self.control.data_dir, &replica.data_dir);
        replica
    }

    /// What would be a replica, if it had the keys; not started.
    #[must_use]
    pub fn stranger(&self) -> ControlPlane {
        self.control.another(self.dir.path())
    }

    /// Another data plane of the same control plane; not started.
    #[must_use]
    pub fn another_node(&self) -> DataPlane {
        self.node_at(&self.data.control_plane)
    }

    /// Another data plane, of the control plane at `endpoint`; not started.
    #[must_use]
    pub fn node_at(&self, endpoint: &str) -> DataPlane {
        let port = free_port();
        DataPlane {
            data_dir: self.dir.path().join(format!("data-plane-{port}")),
            webhook_url: format!("http://127.0.0.1:{port}"),
            port,
            admin_port: free_port(),
            control_plane: endpoint.to_owned(),
            token_file: self.data.token_file.clone(),
            has_token: self.data.has_token,
            extra: self.data.extra.clone(),
            env: self.data.env.clone(),
            files_max: self.data.files_max,
            process: None,
        }
    }

    /// The endpoint that a sender posts to.
    #[must_use]
    pub fn endpoint(&self, workflow: &str, kind: &str, key: &str) -> String {
        format!(
            "{}/v1/projects/default/workflows/{workflow}/{kind}?x-api-key={key}",
            self.data.webhook_url
        )
    }

    /// The temporary folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Every test process that speaks TLS or makes an HTTP client needs the provider.
pub fn install_crypto() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
