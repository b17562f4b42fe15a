//! Errors of calls.

use std::path::PathBuf;

use signalbox_proto::convert::status::ApiError;
use tonic::{Code, Status, TimeoutExpired};

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No URL.
    #[error("{0:?} is no endpoint: expected http://host:port or https://host:port")]
    Endpoint(String),
    /// The CA file cannot be read.
    #[error("the CA file {} cannot be read", .0.display())]
    CaFile(PathBuf, #[source] std::io::Error),
    /// The certificate that is to be shown, or its key, cannot be read.
    #[error("the certificate file {} cannot be read", .0.display())]
    CertificateFile(PathBuf, #[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] tonic::transport::Error),
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The control plane cannot be reached, or went away during the call.
    #[error("the control plane cannot be reached: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("the control plane did not answer in time")]
    Deadline,
    /// It answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let cause = innermost_cause(&status);
        match (status.code(), cause) {
            (Code::DeadlineExceeded, _) => Self::Deadline,
            // tonic's status for its own timer.
            (Code::Cancelled, Some(cause)) if cause == TimeoutExpired(()).to_string() => {
                Self::Deadline
            }
            // A status that came over the wire has no cause here; one that tells of a broken connection has.
            (Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal, Some(cause)) => {
                Self::Unreachable(cause)
            }
            _ => Self::Api(status.into()),
        }
    }
}

/// The innermost cause says what the matter is ("Connection refused"); the status alone says "transport error".
fn innermost_cause(status: &Status) -> Option<String> {
    let mut innermost = None;
    let mut error = std::error::Error::source(status);
    while let Some(source) = error {
        innermost = Some(source.to_string());
        error = source.source();
    }
    innermost
}
