//! The folder a process keeps its state in: one owner at a time, secrets readable by it alone.
//!
//! All functions block on the file system; they are for start-up.

mod error;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

pub use error::DataDirError;

/// Name of the lock file inside the folder.
const LOCK_FILE: &str = "lock";

/// Largest secret file that is read, in bytes.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;

/// An open, locked data folder. The lock ends with this value, or with the process.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the advisory lock; never read.
    _lock: File,
    /// One writer at a time, because writers share the temporary file of a name.
    writing: Mutex<()>,
}

impl DataDir {
    /// Opens `path`, creating the folder (mode 0700) if it is absent; its parent must exist.
    ///
    /// # Errors
    /// [`DataDirError`], each one line that names the folder: missing parent, not a folder, not
    /// readable or writable, in use by another process.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, DataDirError> {
        let path = path.into();
        create(&path)?;
        let lock = lock(&path)?;
        fs::read_dir(&path).map_err(|error| DataDirError::of(&path, error))?;
        Ok(Self {
            path,
            _lock: lock,
            writing: Mutex::new(()),
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` inside the folder, for stores that open their own files.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes `bytes` to `name` with mode 0600, atomically and durably: after a crash the file has
    /// its old content or all of the new, never a part.
    ///
    /// # Errors
    /// [`DataDirError::Name`] unless `name` is a plain file name; [`DataDirError::File`] otherwise.
    pub fn write_secret_file(&self, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
        let target = self.file(name)?;
        let temporary = self.path.join(format!(".{name}.tmp"));
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        replace(&self.path, &temporary, &target, bytes).map_err(|source| {
            // Best effort: the next write truncates what is left.
            let _left = fs::remove_file(&temporary);
            DataDirError::File {
                doing: "written",
                path: target,
                source,
            }
        })
    }

    /// Reads `name`; `None` when there is no such file. The bytes are wiped when dropped.
    ///
    /// # Errors
    /// [`DataDirError::Name`], [`DataDirError::File`], or [`DataDirError::TooLarge`] above
    /// [`SECRET_MAX_BYTES`].
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, DataDirError> {
        let path = self.file(name)?;
        let mut bytes = Zeroizing::new(Vec::new());
        let read = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => {
                opened.and_then(|file| file.take(SECRET_MAX_BYTES + 1).read_to_end(&mut bytes))
            }
        };
        match read {
            Err(source) => Err(DataDirError::File {
                doing: "read",
                path,
                source,
            }),
            Ok(read) if read as u64 > SECRET_MAX_BYTES => Err(DataDirError::TooLarge { path }),
            Ok(_) => Ok(Some(bytes)),
        }
    }

    fn file(&self, name: &str) -> Result<PathBuf, DataDirError> {
        let mut components = Path::new(name).components();
        let plain = matches!(
            (components.next(), components.next()),
            (Some(Component::Normal(only)), None) if only == name
        );
        if plain && name != LOCK_FILE {
            Ok(self.path.join(name))
        } else {
            Err(DataDirError::Name {
                name: name.to_owned(),
            })
        }
    }
}

fn create(path: &Path) -> Result<(), DataDirError> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(path) {
            Ok(found) if found.is_dir() => Ok(()),
            Ok(_) => Err(DataDirError::NotAFolder {
                path: path.to_owned(),
            }),
            Err(error) => Err(DataDirError::of(path, error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DataDirError::NoParent {
            path: path.to_owned(),
        }),
        Err(error) => Err(DataDirError::of(path, error)),
    }
}

/// Takes the lock and notes our process id in it, for the message another process gives.
fn lock(path: &Path) -> Result<File, DataDirError> {
    let mut file = private()
        .read(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK_FILE))
        .map_err(|error| DataDirError::of(path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::Locked {
                path: path.to_owned(),
                owner: owner(&mut file),
            });
        }
        Err(TryLockError::Error(error)) => return Err(DataDirError::of(path, error)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| DataDirError::of(path, error))?;
    Ok(file)
}

/// The process id noted in a lock file; `None` where it cannot be told.
fn owner(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn replace(folder: &Path, temporary: &Path, target: &Path, bytes: &[u8]) -> io::Result<()> {
    // Left over from a crash, perhaps with another mode: begin afresh.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private().create_new(true).open(temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(temporary, target)?;
    // The rename is durable only once the folder is.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Options for a file that only its owner may read.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests;
