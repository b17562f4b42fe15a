//! The command line `signalbox`, as an operator runs it against a control plane.

use std::process::{Command, Output};

use crate::{planes::ControlPlane, process::binary};

/// A command line with a control plane and a token.
#[derive(Clone, Debug)]
pub struct Cli {
    endpoint: String,
    token: String,
}

impl Cli {
    /// With a token for `role` in every project.
    #[must_use]
    pub fn new(control_plane: &ControlPlane, role: &str) -> Self {
        Self {
            endpoint: control_plane.endpoint.clone(),
            token: control_plane.token(role),
        }
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it cannot be run.
    pub async fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(binary("signalbox"));
        command
            .args(arguments)
            .env("SIGNALBOX_ENDPOINT", &self.endpoint)
            .env("SIGNALBOX_TOKEN", &self.token);
        let output = tokio::task::spawn_blocking(move || command.output());
        Ended::of(output.await.unwrap().unwrap())
    }

    /// The same of one that must succeed: what it prints.
    ///
    /// # Panics
    /// When it fails.
    pub async fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).await;
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.stdout
    }
}

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
