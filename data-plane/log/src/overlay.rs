//! A folder that is only looked at: what is written to it stays in memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::storage::{SegmentFile, Storage};

/// The files of a folder as they were when it was opened, and whatever was done to them since, which no disk sees. What
/// [`crate::Log::open`] or [`crate::repair`] would do to a folder is tried on this.
#[derive(Default)]
pub struct Overlay {
    files: Mutex<BTreeMap<String, Arc<OverlaidFile>>>,
}

struct OverlaidFile {
    /// None of one that was made here.
    below: Option<File>,
    size: u64,
    written: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Overlay {
    /// Opens every file of `dir` for reading.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let below = File::open(entry.path())?;
            let metadata = below.metadata()?;
            if metadata.is_file() {
                files.insert(name, file(Some(below), metadata.len()));
            }
        }
        Ok(Self {
            files: Mutex::new(files),
        })
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Arc<OverlaidFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file(below: Option<File>, size: u64) -> Arc<OverlaidFile> {
    Arc::new(OverlaidFile {
        below,
        size,
        written: Mutex::default(),
    })
}

impl Storage for Overlay {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let made = file(None, size);
        files.insert(name.to_owned(), made.clone());
        Ok(made)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let found = self.files().get(name).cloned();
        found
            .map(|file| file as Arc<dyn SegmentFile>)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        if files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files().remove(name);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SegmentFile for OverlaidFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let buffer = &mut buffer[..length];
        buffer.fill(0);
        if let Some(below) = &self.below {
            SegmentFile::read_at(below, buffer, offset)?;
        }
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, bytes) in written.iter() {
            let from = (*at).max(offset);
            let to = (at + bytes.len() as u64).min(offset + length as u64);
            if from < to {
                let index = |position: u64, start: u64| {
                    usize::try_from(position - start).unwrap_or(usize::MAX)
                };
                buffer[index(from, offset)..index(to, offset)]
                    .copy_from_slice(&bytes[index(from, *at)..index(to, *at)]);
            }
        }
        Ok(length)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.size {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
