//! The machine: what it is, and how fast it does the two things that no receiver can do without.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::corpus::{Corpus, Key};

/// A record as large as a message of 1.5 KiB with what is kept beside it.
const RECORD_BYTES: usize = 2048;
const FILE_BYTES: u64 = 64 * 1024 * 1024;
const SYNCS: u64 = 3000;
const VERIFY_FOR: Duration = Duration::from_secs(1);
/// Messages that are verified in turn.
const VERIFIED: u64 = 2048;

/// What the machine is, and does.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) file_system: String,
    /// One write of 2 KiB into a preallocated file and its fdatasync.
    pub(crate) fdatasync_p50_us: f64,
    pub(crate) fdatasync_p99_us: f64,
    /// RSA-2048/SHA-256 verifications of 1.5 KiB messages, on one core.
    pub(crate) verify_per_s: f64,
    /// The same on all cores at once.
    pub(crate) verify_all_cores_per_s: f64,
    /// What else kept the machine busy when this began.
    pub(crate) load_average: String,
}

/// How many cores there are.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl Machine {
    /// Looks, and measures in `dir`.
    pub(crate) fn measure(dir: &Path, key: &Key, corpus: &Corpus) -> Result<Self> {
        let load_average = read("/proc/loadavg");
        let syncs = fdatasync(dir)?;
        let one = verify(key, corpus, 1)?;
        let all = verify(key, corpus, cores())?;
        Ok(Self {
            cpu: value("/proc/cpuinfo", "model name"),
            cores: cores(),
            memory_gib: value("/proc/meminfo", "MemTotal")
                .trim_end_matches(" kB")
                .parse::<f64>()
                .unwrap_or_default()
                / 1024.0
                / 1024.0,
            kernel: read("/proc/sys/kernel/osrelease"),
            file_system: file_system(dir),
            fdatasync_p50_us: syncs.value_at_quantile(0.5) as f64,
            fdatasync_p99_us: syncs.value_at_quantile(0.99) as f64,
            verify_per_s: one,
            verify_all_cores_per_s: all,
            load_average: load_average
                .split_whitespace()
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
        })
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn value(path: &str, name: &str) -> String {
    read(path)
        .lines()
        .find(|line| line.starts_with(name))
        .and_then(|line| line.split_once(':'))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

/// Type of the file system that holds `dir`: of the longest mount point that `dir` is under.
fn file_system(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = read("/proc/mounts");
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(at, _)| dir.starts_with(at))
        .max_by_key(|(at, _)| at.len())
        .map(|(_, kind)| kind.to_owned())
        .unwrap_or_default()
}

/// Appends into a preallocated file, as the intake log does; in microseconds.
fn fdatasync(dir: &Path) -> Result<Histogram<u64>> {
    let path = dir.join("fdatasync");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    let zeros = vec![0; 1024 * 1024];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at)?;
    }
    file.sync_all()?;
    let record = vec![b'x'; RECORD_BYTES];
    let mut took = Histogram::new(3).map_err(|error| anyhow!("{error:?}"))?;
    for number in 0..SYNCS {
        let started = Instant::now();
        file.write_all_at(&record, number * RECORD_BYTES as u64)?;
        file.sync_data()?;
        took.saturating_record(started.elapsed().as_micros() as u64);
    }
    fs::remove_file(&path)?;
    Ok(took)
}

/// Verifications per second by `threads` threads, each over distinct messages.
fn verify(key: &Key, corpus: &Corpus, threads: usize) -> Result<f64> {
    let public = RsaKeyPair::from_pkcs8(key.signer.pkcs8())
        .ok()
        .context("no key")?;
    let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.public_key().as_ref());
    let public = public.ok().context("no key")?;
    let messages: Vec<_> = (0..VERIFIED.min(corpus.count))
        .map(|index| corpus.to_verify(index))
        .collect::<Result<_>>()?;
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                let (public, messages) = (&public, &messages);
                scope.spawn(move || -> Result<f64> {
                    let started = Instant::now();
                    let mut count = 0_u64;
                    while started.elapsed() < VERIFY_FOR {
                        for (text, signature) in messages {
                            let verified = public.verify_sig(text, signature);
                            verified.ok().context("a message does not verify")?;
                            count += 1;
                        }
                    }
                    Ok(count as f64 / started.elapsed().as_secs_f64())
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().map_err(|_| anyhow!("a thread panicked"))?)
            .sum()
    })
}
