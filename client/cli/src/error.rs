//! Errors and exit codes.

use std::{path::PathBuf, process::ExitCode};

use signalbox_client::{ClientError, ConfigError};
use signalbox_control_plane::auth::TokenError;
use signalbox_runtime::exit::{Code, fail};
use tonic::Code as Grpc;

/// Why a command failed. Each is one line, and a line for each problem of a definition.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A file cannot be read.
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The input is wrong.
    #[error("{what}: {}", .problems.join("; "))]
    Data {
        /// What is.
        what: String,
        /// Its problems.
        problems: Vec<String>,
    },
    /// An argument is wrong.
    #[error("{0}")]
    Usage(String),
    /// The client cannot be set up.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A call failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no control plane where it is looked for.
    #[error("the control plane cannot be reached at {endpoint}: {cause}")]
    Unreachable {
        /// Where.
        endpoint: String,
        /// Why.
        cause: String,
    },
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A plane, the simulator or what they need does not start.
    #[error(transparent)]
    Start(Box<dyn std::error::Error + Send + Sync>),
    /// A file or folder cannot be written.
    #[error("{} cannot be written", .0.display())]
    Write(PathBuf, #[source] std::io::Error),
    /// Something that was to happen did not.
    #[error("{0}")]
    Failed(String),
    /// There is something to do, which was only to be told.
    #[error("there is something to do")]
    Drift,
    /// Nobody reads what we write.
    #[error("the output cannot be written")]
    Output(#[from] std::io::Error),
}

impl CliError {
    /// Something does not start.
    pub(crate) fn start(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Start(error.into())
    }

    /// The same, with the endpoint where that helps.
    pub(crate) fn at(self, endpoint: &str) -> Self {
        match self {
            // An endpoint with user information is not repeated.
            Self::Client(ClientError::Unreachable(cause)) if !endpoint.contains('@') => {
                let endpoint = endpoint.to_owned();
                Self::Unreachable { endpoint, cause }
            }
            other => other,
        }
    }

    /// Says what failed on standard error; gives the exit code.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == std::io::ErrorKind::BrokenPipe
        {
            // `signalbox … | head` is no failure.
            return ExitCode::SUCCESS;
        }
        if let Self::Drift = self {
            // It has been shown.
            return self.code().into();
        }
        if let Self::Data { what, problems } = self {
            // A line for each problem, so that all are readable at once.
            use std::io::Write as _;
            let mut text = format!("error: {what}\n");
            for problem in problems {
                text.push_str("  ");
                text.push_str(problem);
                text.push('\n');
            }
            let _ = std::io::stderr().write_all(text.as_bytes());
            return ExitCode::from(Code::Data);
        }
        if let Self::Client(ClientError::Api(api)) = self
            && !api.violations.is_empty()
        {
            let problems = api.violations.iter().map(ToString::to_string).collect();
            let data = Self::Data {
                what: "the control plane refuses the request".to_owned(),
                problems,
            };
            return data.report();
        }
        fail(self.code(), self)
    }

    fn code(&self) -> Code {
        match self {
            // As `terraform plan -detailed-exitcode` has it, which is what a wrong command line has, too.
            Self::Usage(_) | Self::Drift => Code::Usage,
            Self::Read(..) | Self::Data { .. } => Code::Data,
            Self::Config(_) | Self::Start(_) | Self::Token(_) | Self::Write(..) => Code::Config,
            Self::Unreachable { .. }
            | Self::Client(ClientError::Unreachable(_) | ClientError::Deadline) => {
                Code::Unavailable
            }
            Self::Client(ClientError::Api(api)) => match api.code {
                Grpc::Unauthenticated | Grpc::PermissionDenied => Code::NoPermission,
                Grpc::InvalidArgument => Code::Data,
                Grpc::Unavailable => Code::Unavailable,
                _ => Code::Failure,
            },
            Self::Failed(_) => Code::Failure,
            Self::Output(_) => Code::Software,
        }
    }
}
