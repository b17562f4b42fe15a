//! What a run has.

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_model::limits;
use wasmtime::ResourceLimiter;

use crate::{Job, LOG_MAX_BYTES};

/// What a run has: its streams, its clock and its chance, and what it may use.
pub(crate) struct State {
    input: Bytes,
    output: Vec<u8>,
    log: Vec<u8>,
    time: Timestamp,
    random: blake3::OutputReader,
    memory_max_bytes: usize,
    /// Whether more memory was wanted than may be had.
    was_refused_memory: bool,
}

impl State {
    pub(crate) fn new(job: &Job) -> Self {
        Self {
            input: job.input.clone(),
            output: Vec::new(),
            log: Vec::new(),
            time: job.time,
            random: blake3::Hasher::new()
                .update(job.seed.as_bytes())
                .finalize_xof(),
            memory_max_bytes: usize::try_from(job.memory_max_bytes).unwrap_or(usize::MAX),
            was_refused_memory: false,
        }
    }

    /// The next `max` bytes of the input, or what is left.
    pub(crate) fn read(&mut self, max: usize) -> Bytes {
        self.input.split_to(max.min(self.input.len()))
    }

    /// Adds to the output. False: it is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        let fits = self.output.len() + bytes.len() <= limits::SCRIPT_OUTPUT_MAX_BYTES;
        if fits {
            self.output.extend_from_slice(bytes);
        }
        fits
    }

    /// Adds to the log, whose beginning is forgotten when it is long.
    pub(crate) fn log(&mut self, bytes: &[u8]) {
        let last = bytes.len().saturating_sub(LOG_MAX_BYTES);
        self.log.extend_from_slice(&bytes[last..]);
        if self.log.len() > 2 * LOG_MAX_BYTES {
            self.log.drain(..self.log.len() - LOG_MAX_BYTES);
        }
    }

    /// The time since 1970 in nanoseconds; 0 when it was before, or is too far.
    pub(crate) fn time_ns(&self) -> u64 {
        u64::try_from(self.time.as_nanosecond()).unwrap_or_default()
    }

    pub(crate) fn fill_random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }

    pub(crate) fn was_refused_memory(&self) -> bool {
        self.was_refused_memory
    }

    /// Output and log.
    pub(crate) fn into_written(self) -> (Vec<u8>, Vec<u8>) {
        let mut log = self.log;
        log.drain(..log.len().saturating_sub(LOG_MAX_BYTES));
        (self.output, log)
    }
}

impl ResourceLimiter for State {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = desired <= self.memory_max_bytes;
        self.was_refused_memory |= !fits;
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= limits::SCRIPT_TABLE_ELEMENTS_MAX as usize)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        limits::SCRIPT_TABLES_MAX as usize
    }

    fn memories(&self) -> usize {
        1
    }
}
