//! What `/proc` says of a process (proc(5)).

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result};

/// `USER_HZ`, which is 100 on every Linux that is met today.
const TICKS_PER_S: f64 = 100.0;

/// CPU time of a process, user and system, in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) total_us: f64,
    /// By the thread's name, its number left out. Without threads that have ended.
    pub(crate) threads_us: BTreeMap<String, f64>,
}

impl Cpu {
    /// Of the process `pid`, until now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let (_, total_us) = stat(Path::new(&format!("/proc/{pid}/stat")))?;
        let mut threads_us = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end while we look.
            if let Ok((name, us)) = stat(&task?.path().join("stat")) {
                *threads_us.entry(name).or_default() += us;
            }
        }
        Ok(Self {
            total_us,
            threads_us,
        })
    }

    /// What was used since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |name: &str| earlier.threads_us.get(name).copied().unwrap_or_default();
        Self {
            total_us: self.total_us - earlier.total_us,
            threads_us: self
                .threads_us
                .iter()
                .map(|(name, us)| (name.clone(), us - before(name)))
                .collect(),
        }
    }
}

fn stat(path: &Path) -> Result<(String, f64)> {
    let text = fs::read_to_string(path)?;
    // The name stands in parentheses and may hold anything.
    let (head, rest) = text.rsplit_once(')').context("no name")?;
    let (_, name) = head.split_once('(').context("no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| -> Result<f64> { Ok(fields.get(field).context("short")?.parse()?) };
    let us = (ticks(11)? + ticks(12)?) * 1e6 / TICKS_PER_S;
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
    Ok((name.to_owned(), us))
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// VmRSS.
    pub(crate) resident_mib: f64,
    /// VmHWM.
    pub(crate) peak_mib: f64,
}

impl Memory {
    /// Of the process `pid`, now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |name: &str| -> Result<f64> {
            let line = text.lines().find(|line| line.starts_with(name));
            let line = line.with_context(|| format!("no {name}"))?;
            let kib: f64 = line.split_whitespace().nth(1).context("empty")?.parse()?;
            Ok(kib / 1024.0)
        };
        Ok(Self {
            resident_mib: mib("VmRSS:")?,
            peak_mib: mib("VmHWM:")?,
        })
    }
}
