//! A command that writes the master key.

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::MasterKeyError;

/// How long it may take: it asks a service, at the start of a control plane.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What `command` writes to its standard output, run by `sh -c`. Its standard error is the control plane's: it says why it fails.
/// It is ended, with all that it started, when it has not ended in time.
///
/// # Errors
/// [`MasterKeyError::Command`].
pub(super) async fn output_of(command: &str) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    output_within(command, TIMEOUT).await
}

async fn output_within(
    command: &str,
    timeout: Duration,
) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let refuse = |why: String| MasterKeyError::Command { why };
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // The shell waits for others, which go on when it alone is ended.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let child = child.map_err(|error| refuse(error.to_string()))?;
    let mut group = Group::of(child.id());
    let waited = tokio::time::timeout(timeout, child.wait_with_output()).await;
    let Ok(output) = waited else {
        return Err(refuse(format!("it has not ended after {timeout:?}")));
    };
    group.is_done();
    let output = output.map_err(|error| refuse(error.to_string()))?;
    let Output { status, stdout, .. } = output;
    let stdout = Zeroizing::new(stdout);
    if status.success() {
        Ok(stdout)
    } else {
        Err(refuse(status.to_string()))
    }
}

/// The processes of a command, which end when this is dropped unless they are done.
struct Group(Option<Pid>);

impl Group {
    /// The group that the process with this id leads.
    fn of(leader: Option<u32>) -> Self {
        let leader = leader.and_then(|id| i32::try_from(id).ok());
        Self(leader.and_then(Pid::from_raw))
    }

    fn is_done(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It fails when there is none of them any more.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    /// Whether a process with this id is there, and not only waits to be forgotten.
    fn lives(id: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        state.is_some_and(|state| state != 'Z' && state != 'X')
    }

    #[tokio::test]
    async fn what_it_writes_is_the_key_and_why_it_fails_is_told() {
        assert_eq!(*output_of("printf 'a b'").await.unwrap(), b"a b");
        for (command, why) in [("exit 3", "exit status: 3"), ("kill -9 $$", "signal: 9")] {
            let error = output_of(command).await.unwrap_err().to_string();
            assert!(error.contains(why), "{command}: {error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn one_that_hangs_is_ended_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let ids = dir.path().join("ids");
        let command = format!(
            "sleep 3600 & echo $! $$ > {0}.new; mv {0}.new {0}; sleep 3600",
            ids.display()
        );
        let started = std::time::Instant::now();
        let error = output_within(&command, Duration::from_secs(2)).await;
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with("it has not ended after 2s"), "{error}");
        let ids = std::fs::read_to_string(ids).unwrap();
        while ids.split_whitespace().any(lives) {
            assert!(started.elapsed() < Duration::from_secs(30), "{ids} live on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
