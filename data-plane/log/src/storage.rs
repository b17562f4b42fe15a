//! The disk, as the log sees it: named files of one folder.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A folder of segment files.
pub trait Storage: Send + Sync + 'static {
    /// Names of the files.
    ///
    /// # Errors
    /// The disk's.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `size` zero bytes, all of them written and durable, so that overwriting needs no new block.
    ///
    /// # Errors
    /// The disk's; no file of that name is left then.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>>;

    /// Opens a file.
    ///
    /// # Errors
    /// The disk's.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;

    /// Renames a file, durably. Replaces none.
    ///
    /// # Errors
    /// The disk's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The disk's.
    fn remove(&self, name: &str) -> io::Result<()>;
}

/// An open segment file.
pub trait SegmentFile: Send + Sync + 'static {
    /// Its size in bytes.
    ///
    /// # Errors
    /// The disk's.
    fn size(&self) -> io::Result<u64>;

    /// Reads as much as there is at `offset`, up to the size of `buffer`.
    ///
    /// # Errors
    /// The disk's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The disk's.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// The disk's.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug)]
pub struct FileStorage {
    dir: PathBuf,
}

impl FileStorage {
    /// The folder `dir`, made if there is none.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }
}

/// What a new file leaves free on the disk: room for the store beside the log to take what the log holds, piece by piece, and
/// to journal and to forget it. A log that left none could never be emptied.
const RESERVE_BYTES: u64 = 32 * 1024 * 1024;

/// What the file system of the folder `dir` says to have free, in bytes.
///
/// # Errors
/// The disk's.
pub fn free_bytes(dir: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(dir)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Zero bytes written at a time.
const FILL_BYTES: usize = 1024 * 1024;

impl Storage for FileStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let path = self.dir.join(name);
        if free_bytes(&self.dir)? < size.saturating_add(RESERVE_BYTES) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let make = || {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)?;
            let zeros = vec![0; FILL_BYTES];
            let mut offset = 0;
            while offset < size {
                let piece =
                    usize::try_from(size - offset).map_or(FILL_BYTES, |left| left.min(FILL_BYTES));
                file.write_all_at(&zeros[..piece], offset)?;
                offset += piece as u64;
            }
            file.sync_all()?;
            sync_dir(&self.dir)?;
            Ok(file)
        };
        match make() {
            Ok(file) => Ok(Arc::new(file)),
            Err(error) => {
                // Half a file would only take the room that is missing.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.dir.join(name))?;
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.dir.join(to);
        if to.exists() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(self.dir.join(from), to)?;
        sync_dir(&self.dir)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    // The parent of a relative name of one part is the empty path.
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)?.sync_all()
}

impl SegmentFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match std::os::unix::fs::FileExt::read_at(
                self,
                &mut buffer[read..],
                offset + read as u64,
            ) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
