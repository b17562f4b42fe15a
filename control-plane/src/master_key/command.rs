//! A command that writes the master key.

use std::{
    process::{Command, Output, Stdio},
    time::Duration,
};

use zeroize::Zeroizing;

use super::MasterKeyError;

/// How long it may take: it asks a service, at the start of a control plane.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What `command` writes to its standard output, run by `sh -c`. Its standard error is the control plane's: it says why it fails.
///
/// # Errors
/// [`MasterKeyError::Command`].
pub(super) async fn output_of(command: &str) -> Result<Zeroizing<Vec<u8>>, MasterKeyError> {
    let refuse = |why: String| MasterKeyError::Command { why };
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let child = child.map_err(|error| refuse(error.to_string()))?;
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    let Ok(waited) = tokio::time::timeout(TIMEOUT, waiting).await else {
        return Err(refuse(format!("it has not ended after {TIMEOUT:?}")));
    };
    let output = waited.map_err(|error| refuse(error.to_string()))?;
    let Output { status, stdout, .. } = output.map_err(|error| refuse(error.to_string()))?;
    let stdout = Zeroizing::new(stdout);
    if status.success() {
        Ok(stdout)
    } else {
        Err(refuse(status.to_string()))
    }
}
