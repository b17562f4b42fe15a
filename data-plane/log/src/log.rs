//! The log's folder: which segments there are, and opening them.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    check::{check, is_torn, scan_all, segments},
    error::{CommitError, OpenError},
    format::{LogId, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader, span},
    reader::Reader,
    scan::Scan,
    storage::{SegmentFile, Storage},
    writer::Writer,
};

const SUFFIX: &str = ".segment";
const SPARE: &str = "spare-";
const UNUSABLE: &str = "unusable-";
/// Spare files kept: one to go on with, one more for a burst.
const SPARES_MAX: usize = 2;

/// Settings of a [`Log`].
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// Size of a segment file in bytes; a commit group fits into one.
    pub segment_bytes: u64,
}

impl LogConfig {
    /// Size of a segment file unless it is said otherwise, in bytes.
    pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: Self::SEGMENT_BYTES,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn SegmentFile>,
}

struct Folder {
    live: VecDeque<Segment>,
    spares: Vec<String>,
    next_spare: u64,
}

/// A log. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    storage: Arc<dyn Storage>,
    id: LogId,
    segment_bytes: u64,
    folder: Mutex<Folder>,
    /// One past the last durable sequence.
    end: AtomicU64,
    written_bytes: AtomicU64,
}

/// What [`Log::open`] gives.
pub struct Opened {
    /// The log.
    pub log: Log,
    /// Its one writer.
    pub writer: Writer,
    /// A reader at the first record that its owner has not seen.
    pub reader: Reader,
    /// Bytes of a group that a crash has torn: it was never acknowledged.
    pub torn: bool,
}

pub(crate) fn file_name(number: u64) -> String {
    format!("{number:016x}{SUFFIX}")
}

pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

impl Log {
    /// Opens the log in `storage`, or makes one. `known` is the log that the owner has a store of, with the last sequence
    /// that it has taken from it: everything above must be there.
    ///
    /// # Errors
    /// [`OpenError`]; the files are as they were then.
    pub fn open(
        storage: Arc<dyn Storage>,
        config: &LogConfig,
        known: Option<(LogId, u64)>,
    ) -> Result<Opened, OpenError> {
        let seen = known.map_or(0, |(_, seen)| seen);
        let names = storage.list().map_err(OpenError::io("list the folder"))?;
        let mut folder = spares(storage.as_ref(), config, &names)?;
        let segments = segments(storage.as_ref(), &names)?;
        let Some(first) = segments.first() else {
            return match known {
                Some((expected, _)) => Err(OpenError::Empty { expected }),
                None => Self::make(storage, config, folder),
            };
        };
        let id = first.header.log;
        if let Some((expected, _)) = known
            && expected != id
        {
            return Err(OpenError::OtherLog {
                found: id,
                expected,
            });
        }
        let scans = scan_all(&segments)?;
        check(&segments, &scans, seen)?;
        folder.live = segments.into();
        let (writer_at, torn) = Self::settle(&folder, &scans)?;
        let log = Self::of(storage, config, folder, id, writer_at.next_sequence);
        let writer = Writer::resume(log.clone(), writer_at)
            .map_err(OpenError::io("finish what a crash broke off"))?;
        let reader = Reader::new(log.clone(), seen + 1);
        Ok(Opened {
            log,
            writer,
            reader,
            torn,
        })
    }

    fn of(
        storage: Arc<dyn Storage>,
        config: &LogConfig,
        folder: Folder,
        id: LogId,
        end: u64,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                storage,
                id,
                segment_bytes: config.segment_bytes,
                folder: Mutex::new(folder),
                end: AtomicU64::new(end),
                written_bytes: AtomicU64::new(0),
            }),
        }
    }

    fn make(
        storage: Arc<dyn Storage>,
        config: &LogConfig,
        folder: Folder,
    ) -> Result<Opened, OpenError> {
        let id = LogId(*uuid::Uuid::new_v4().as_bytes());
        let log = Self::of(storage, config, folder, id, 1);
        let segment = log
            .add_segment(1, 1)
            .map_err(OpenError::io("make the first segment"))?;
        let writer = Writer::new(
            log.clone(),
            WriterAt {
                segment,
                end: SEGMENT_HEADER_BYTES,
                next_sequence: 1,
                rewrite_from: SEGMENT_HEADER_BYTES,
                seals: None,
            },
        );
        let reader = Reader::new(log.clone(), 1);
        Ok(Opened {
            log,
            writer,
            reader,
            torn: false,
        })
    }

    /// Where the writer goes on.
    fn settle(folder: &Folder, scans: &[Scan]) -> Result<(WriterAt, bool), OpenError> {
        let (Some(last), Some(tail)) = (folder.live.back(), scans.last()) else {
            return Err(OpenError::io("find a segment")(
                std::io::ErrorKind::NotFound.into(),
            ));
        };
        // While a segment is empty, the seal of the one before it may be missing, or be readable and yet not durable.
        let before = scans.len().checked_sub(2).filter(|_| tail.records == 0);
        let seals = before.map(|before| {
            let scan = &scans[before];
            let sealed = scan.last == Some(RecordKind::Seal);
            let at = scan.end - if sealed { span(0) } else { 0 };
            (folder.live[before].clone(), at)
        });
        let torn = match before.filter(|before| scans[*before].last != Some(RecordKind::Seal)) {
            Some(before) => is_torn(&folder.live[before], &scans[before])?,
            None => is_torn(last, tail)?,
        };
        Ok((
            WriterAt {
                segment: last.clone(),
                end: tail.end,
                next_sequence: tail.next_sequence,
                rewrite_from: tail.last_group_at,
                seals,
            },
            torn,
        ))
    }

    /// Names the log.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.inner.id
    }

    /// A reader that begins at a sequence.
    #[must_use]
    pub fn reader(&self, from: u64) -> Reader {
        Reader::new(self.clone(), from)
    }

    /// One past the last durable sequence.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.inner.end.load(Ordering::Acquire)
    }

    pub(crate) fn publish(&self, end: u64, written_bytes: u64) {
        self.inner.end.store(end, Ordering::Release);
        self.inner
            .written_bytes
            .store(written_bytes, Ordering::Relaxed);
    }

    /// Bytes of the segments that are in use, as far as they are written.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        let before = self.folder().live.len().saturating_sub(1) as u64;
        before * self.inner.segment_bytes + self.inner.written_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that the files take on the disk, spares included.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let folder = self.folder();
        (folder.live.len() + folder.spares.len()) as u64 * self.inner.segment_bytes
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.inner.segment_bytes
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        // Nothing panics while it is held, and its changes are single pushes and pops.
        self.inner
            .folder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The segment that holds `sequence`, or will.
    pub(crate) fn segment_of(&self, sequence: u64) -> Option<Segment> {
        let folder = self.folder();
        let after = folder
            .live
            .partition_point(|segment| segment.header.first_sequence <= sequence);
        folder.live.get(after.checked_sub(1)?).cloned()
    }

    /// Makes a spare segment if there is none, so that the writer need not wait for one. Call it from another thread than
    /// the writer's; it writes a whole segment of zeros.
    ///
    /// # Errors
    /// The disk's: [`std::io::ErrorKind::StorageFull`] says that the log cannot grow.
    pub fn prepare(&self) -> std::io::Result<()> {
        let name = {
            let mut folder = self.folder();
            if !folder.spares.is_empty() {
                return Ok(());
            }
            folder.next_spare += 1;
            format!("{SPARE}{}", folder.next_spare)
        };
        self.inner.storage.create(&name, self.inner.segment_bytes)?;
        self.folder().spares.push(name);
        Ok(())
    }

    /// Removes the spare segments: their room is needed by others.
    ///
    /// # Errors
    /// The disk's. What is left over goes with the next call.
    pub fn release_spares(&self) -> std::io::Result<()> {
        while let Some(spare) = self.take_spare() {
            if let Err(error) = self.inner.storage.remove(&spare) {
                self.folder().spares.push(spare);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Keeps the payload of a record that its owner can do nothing with, in a file of its own beside the segments, before the
    /// record's segment is used again. Gives the file's name: sequence and tag. Once more changes nothing.
    ///
    /// # Errors
    /// The disk's: [`std::io::ErrorKind::StorageFull`] says that there is no room for it.
    pub fn set_aside(&self, sequence: u64, tag: u8, payload: &[u8]) -> std::io::Result<String> {
        let storage = &self.inner.storage;
        let name = format!("{UNUSABLE}{sequence}-{tag}");
        let file = match storage.create(&name, payload.len() as u64) {
            // Of a try that a crash broke off: all of it is written again.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let file = storage.open(&name)?;
                if file.size()? != payload.len() as u64 {
                    storage.remove(&name)?;
                    storage.create(&name, payload.len() as u64)?
                } else {
                    file
                }
            }
            made => made?,
        };
        file.write_at(payload, 0)?;
        file.sync()?;
        Ok(name)
    }

    fn take_spare(&self) -> Option<String> {
        self.folder().spares.pop()
    }

    /// Frees the segments whose every record has a sequence up to `seen`: the owner has them elsewhere, durably.
    ///
    /// # Errors
    /// The disk's. What is left over goes with the next call.
    pub fn retire(&self, seen: u64) -> std::io::Result<()> {
        loop {
            let (number, spare) = {
                let mut folder = self.folder();
                let next = folder.live.get(1).map(|next| next.header.first_sequence);
                if next.is_none_or(|next| next > seen + 1) {
                    return Ok(());
                }
                let Some(number) = folder.live.front().map(|first| first.header.number) else {
                    return Ok(());
                };
                let spare = (folder.spares.len() < SPARES_MAX).then(|| {
                    folder.next_spare += 1;
                    format!("{SPARE}{}", folder.next_spare)
                });
                (number, spare)
            };
            match &spare {
                Some(spare) => self.inner.storage.rename(&file_name(number), spare)?,
                None => self.inner.storage.remove(&file_name(number))?,
            }
            let mut folder = self.folder();
            folder.live.pop_front();
            folder.spares.extend(spare);
        }
    }

    /// A new last segment: a spare, or a file made on the spot.
    pub(crate) fn add_segment(&self, number: u64, first_sequence: u64) -> std::io::Result<Segment> {
        let storage = &self.inner.storage;
        let name = match self.take_spare() {
            Some(spare) => spare,
            None => {
                let spare = format!("{SPARE}0");
                storage.create(&spare, self.inner.segment_bytes)?;
                spare
            }
        };
        let opened = (|| {
            let file = storage.open(&name)?;
            let header = SegmentHeader {
                log: self.inner.id,
                number,
                size: file.size()?,
                first_sequence,
            };
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            storage.rename(&name, &file_name(number))?;
            Ok(Segment { header, file })
        })();
        match opened {
            Ok(segment) => {
                self.folder().live.push_back(segment.clone());
                Ok(segment)
            }
            Err(error) => {
                self.folder().spares.push(name);
                Err(error)
            }
        }
    }
}

/// The folder with its spare files and no segment yet. A spare that a crash left unfinished, or of another size, is dropped.
fn spares(
    storage: &dyn Storage,
    config: &LogConfig,
    names: &[String],
) -> Result<Folder, OpenError> {
    let mut folder = Folder {
        live: VecDeque::new(),
        spares: Vec::new(),
        next_spare: 0,
    };
    for name in names.iter().filter(|name| name.starts_with(SPARE)) {
        let number = name.trim_start_matches(SPARE).parse().unwrap_or(0);
        folder.next_spare = folder.next_spare.max(number);
        let size = storage
            .open(name)
            .and_then(|file| file.size())
            .map_err(OpenError::io(format!("open {name}")))?;
        if size == config.segment_bytes {
            folder.spares.push(name.clone());
        } else {
            storage
                .remove(name)
                .map_err(OpenError::io(format!("remove {name}")))?;
        }
    }
    Ok(folder)
}

/// Where a writer begins.
pub(crate) struct WriterAt {
    pub(crate) segment: Segment,
    pub(crate) end: u64,
    pub(crate) next_sequence: u64,
    /// The last group is written and synced again from here: whether it was durable is not known, only that it can be read.
    pub(crate) rewrite_from: u64,
    /// The segment before it, and where its seal goes, when that is to be made good.
    pub(crate) seals: Option<(Segment, u64)>,
}

impl From<CommitError> for std::io::Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::NoSpace => std::io::ErrorKind::StorageFull.into(),
            other => Self::other(other),
        }
    }
}
