//! A disk in memory that does what disks do at the worst moment. Driven by a seeded random number generator: the same seed
//! makes the same disk.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};

use crate::storage::{SegmentFile, Storage};

/// What a power loss tears: a write survives in units of this size.
const SECTOR_BYTES: usize = 512;

/// Faults that are due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Fail one sync, after so many more that go well.
    pub fail_sync_after: Option<u64>,
    /// Fail the write after so many more that go well, with an I/O error.
    pub fail_write_after: Option<u64>,
    /// Lose power at the write or sync after so many more: it and all that follow fail, and what they wrote is as
    /// doubtful as all that was not synced. [`SimulatedDisk::crash`] decides what of it there is.
    pub lose_power_after: Option<u64>,
    /// Bytes that the disk holds.
    pub capacity_bytes: Option<u64>,
}

#[derive(Default)]
struct Content {
    /// What a reader sees.
    seen: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
    /// Written since the last sync: offset and length.
    dirty: Vec<(usize, usize)>,
}

struct State {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    faults: Faults,
    random: SmallRng,
    syncs: u64,
    lost: bool,
}

impl State {
    /// Whether the power is gone at the next operation.
    fn loses_power(&mut self) -> bool {
        self.lost = self.lost || due(&mut self.faults.lose_power_after);
        self.lost
    }
}

fn power_lost() -> io::Error {
    io::Error::other("simulated loss of power")
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimulatedDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                files: BTreeMap::new(),
                faults: Faults::default(),
                random: SmallRng::seed_from_u64(seed),
                syncs: 0,
                lost: false,
            })),
        }
    }

    /// Sets the faults that are due.
    pub fn set_faults(&self, faults: Faults) {
        lock(&self.state).faults = faults;
    }

    /// Whether power was lost by [`Faults::lose_power_after`] since the last [`SimulatedDisk::crash`].
    #[must_use]
    pub fn is_lost(&self) -> bool {
        lock(&self.state).lost
    }

    /// Size of all files, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let files = &lock(&self.state).files;
        files
            .values()
            .map(|file| lock(file).seen.len() as u64)
            .sum()
    }

    /// Syncs that went well.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        lock(&self.state).syncs
    }

    /// Power is lost: of what was not synced, any sectors survive and any do not. Open files of before are dead.
    pub fn crash(&self) {
        let mut state = lock(&self.state);
        let State { files, random, .. } = &mut *state;
        for file in files.values_mut() {
            let content = lock(file);
            let mut survived = content.durable.clone();
            for (offset, length) in &content.dirty {
                let mut at = *offset;
                while at < offset + length {
                    let next = ((at / SECTOR_BYTES) + 1) * SECTOR_BYTES;
                    let end = next.min(offset + length);
                    if random.random_bool(0.5) {
                        survived[at..end].copy_from_slice(&content.seen[at..end]);
                    }
                    at = end;
                }
            }
            drop(content);
            *file = Arc::new(Mutex::new(Content {
                seen: survived.clone(),
                durable: survived,
                dirty: Vec::new(),
            }));
        }
        state.faults = Faults::default();
        state.lost = false;
    }

    /// Changes bytes of a file behind everyone's back.
    ///
    /// # Errors
    /// When there is no such file or place.
    pub fn corrupt(&self, name: &str, offset: usize, length: usize) -> io::Result<()> {
        let file = self.file(name)?;
        let mut content = lock(&file);
        let end = offset + length;
        if end > content.seen.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Content { seen, durable, .. } = &mut *content;
        for byte in seen[offset..end]
            .iter_mut()
            .chain(&mut durable[offset..end])
        {
            *byte ^= 0x5a;
        }
        Ok(())
    }

    /// Cuts a file behind everyone's back.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn truncate(&self, name: &str, size: u64) -> io::Result<()> {
        let file = self.file(name)?;
        let mut content = lock(&file);
        let size = usize::try_from(size).map_err(io::Error::other)?;
        content.seen.truncate(size);
        content.durable.truncate(size);
        Ok(())
    }

    fn file(&self, name: &str) -> io::Result<Arc<Mutex<Content>>> {
        lock(&self.state)
            .files
            .get(name)
            .cloned()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn opened(&self, file: Arc<Mutex<Content>>) -> Arc<dyn SegmentFile> {
        Arc::new(SimulatedFile {
            disk: self.clone(),
            file,
        })
    }
}

impl Storage for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.state).files.keys().cloned().collect())
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn SegmentFile>> {
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let file = {
            let mut state = lock(&self.state);
            if state.lost {
                return Err(power_lost());
            }
            if state.files.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let used: usize = state.files.values().map(|file| lock(file).seen.len()).sum();
            if let Some(capacity) = state.faults.capacity_bytes
                && (used + size) as u64 > capacity
            {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = Arc::new(Mutex::new(Content {
                seen: vec![0; size],
                durable: vec![0; size],
                dirty: Vec::new(),
            }));
            state.files.insert(name.to_owned(), file.clone());
            file
        };
        Ok(self.opened(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(self.opened(self.file(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.lost {
            return Err(power_lost());
        }
        if state.files.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.lost {
            return Err(power_lost());
        }
        let removed = state.files.remove(name);
        removed
            .map(drop)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: Arc<Mutex<Content>>,
}

/// Counts down to a fault; true when it is due.
fn due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl SegmentFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.file).seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = lock(&self.file);
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(content.seen.len());
        let read = buffer.len().min(content.seen.len() - from);
        buffer[..read].copy_from_slice(&content.seen[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        if due(&mut state.faults.fail_write_after) {
            return Err(io::Error::other("simulated write error"));
        }
        if state.lost {
            return Err(power_lost());
        }
        let lost = state.loses_power();
        drop(state);
        let mut content = lock(&self.file);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from + bytes.len();
        if end > content.seen.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        content.seen[from..end].copy_from_slice(bytes);
        content.dirty.push((from, bytes.len()));
        if lost { Err(power_lost()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.disk.state);
        if state.loses_power() {
            return Err(power_lost());
        }
        if due(&mut state.faults.fail_sync_after) {
            // As the kernel does: told once; the pages are clean from now on, and not on the disk.
            state.faults.fail_sync_after = None;
            lock(&self.file).dirty.clear();
            return Err(io::Error::other("simulated sync error"));
        }
        state.syncs += 1;
        drop(state);
        let mut content = lock(&self.file);
        let Content {
            seen,
            durable,
            dirty,
        } = &mut *content;
        for (offset, length) in dirty.drain(..) {
            let range = offset..offset + length;
            durable[range.clone()].copy_from_slice(&seen[range]);
        }
        Ok(())
    }
}
