//! What can be wrong with a data folder.

use std::io;
use std::path::{Path, PathBuf};

/// Why a data folder, or a file in it, cannot be used; each `Display` is one line.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The folder is absent and so is its parent. Only the last part is created, so that a
    /// mistyped path does not start a new, empty life.
    #[error("data folder {path:?} cannot be created: its parent folder does not exist")]
    NoParent {
        /// The folder asked for.
        path: PathBuf,
    },
    /// Something that is not a folder has the name.
    #[error("data folder {path:?} is not a folder")]
    NotAFolder {
        /// The folder asked for.
        path: PathBuf,
    },
    /// The process may not read, write or create it.
    #[error("data folder {path:?} is not readable and writable by this user")]
    PermissionDenied {
        /// The folder asked for.
        path: PathBuf,
    },
    /// Another process has it open.
    #[error("data folder {path:?} is in use by {}", describe(*owner))]
    Locked {
        /// The folder asked for.
        path: PathBuf,
        /// The process that has it, where it can be told.
        owner: Option<u32>,
    },
    /// Anything else the system reports about the folder.
    #[error("data folder {path:?} cannot be used")]
    Folder {
        /// The folder asked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Not a plain file name, or one that the folder keeps for itself.
    #[error("{name:?} is not a name for a file in the data folder")]
    Name {
        /// The name asked for.
        name: String,
    },
    /// A file in the folder cannot be read or written.
    #[error("{path:?} cannot be {doing}")]
    File {
        /// `read` or `written`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A secret file is larger than any we write.
    #[error("{path:?} is larger than {} bytes", super::SECRET_MAX_BYTES)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl DataDirError {
    pub(super) fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::PermissionDenied { path }
            }
            io::ErrorKind::NotADirectory => Self::NotAFolder { path },
            _ => Self::Folder { path, source },
        }
    }
}

fn describe(owner: Option<u32>) -> String {
    match owner {
        Some(id) => format!("process {id}"),
        None => "another process".to_owned(),
    }
}
