//! A private PostgreSQL cluster for one test: on a socket in a temporary folder, no port.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// A cluster that ends, and is gone, with this value.
#[derive(Debug)]
pub struct Postgres {
    dir: tempfile::TempDir,
    bin: PathBuf,
}

impl Postgres {
    /// Makes one and starts it.
    ///
    /// # Panics
    /// When PostgreSQL's server is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let bin = std::fs::read_dir("/usr/lib/postgresql")
            .ok()
            .and_then(|versions| versions.filter_map(Result::ok).map(|v| v.path().join("bin")).max())
            .filter(|bin| bin.join("initdb").exists())
            .expect("PostgreSQL's server is missing: run tests/tools/setup (apt-get install postgresql)");
        let dir = tempfile::Builder::new()
            .prefix("sbpg")
            .tempdir_in("/tmp")
            .unwrap();
        let postgres = Self { dir, bin };
        if is_root() {
            let owned = Command::new("chown")
                .arg("postgres")
                .arg(postgres.dir.path())
                .status()
                .unwrap();
            assert!(owned.success());
        }
        let data = postgres.data();
        let arguments = ["-D", &data, "-U", "signalbox", "-A", "trust", "--no-sync"];
        let output = postgres.command("initdb").args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "initdb: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        postgres.start_again();
        postgres
    }

    /// Starts its server.
    ///
    /// # Panics
    /// When it does not.
    pub fn start_again(&self) {
        let socket = self.dir.path().to_str().unwrap();
        let options =
            format!("-c listen_addresses='' -c unix_socket_directories='{socket}' -c fsync=off");
        // Its output goes to a file: a server that holds our pipe would never let us go.
        let log = self.dir.path().join("log");
        let status = self
            .command("pg_ctl")
            .args(["-D", &self.data(), "-o", &options])
            .args(["-l", log.to_str().unwrap(), "-w", "start"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let log = std::fs::read_to_string(log).unwrap_or_default();
        assert!(status.success(), "{log}");
    }

    /// Stops its server: `fast` ends connections, `immediate` is a crash.
    pub fn stop(&self, mode: &str) {
        let _ = self
            .command("pg_ctl")
            .args(["-D", &self.data(), "-m", mode, "-w", "stop"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        let socket = self.dir.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://signalbox@{socket}/{database}")
    }

    /// The socket that its server listens on.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join(".s.PGSQL.5432")
    }

    /// What a statement gives: a row a line, columns with `|` between.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn sql(&self, statement: &str) -> String {
        let socket = self.dir.path().to_str().unwrap();
        let output = self
            .command("psql")
            .args(["-h", socket, "-U", "signalbox", "-d", "postgres"])
            .args(["-At", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{statement}: {error}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn data(&self) -> String {
        let data = self.dir.path().join("data");
        data.to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let program = self.bin.join(program);
        if is_root() {
            // PostgreSQL refuses to run as root.
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command.current_dir("/tmp");
            return command;
        }
        Command::new(program)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop("immediate");
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}
