//! What is shown and written: tables, JSON, and the sections of a document.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::{
    machine::Machine,
    results::{Bar, Ingest, Measured, Ratio},
    subject::Variant,
};

/// Where results go.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    pub(crate) dir: PathBuf,
    pub(crate) document: Option<PathBuf>,
}

impl Out {
    /// A file of the results.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes `name.json`.
    pub(crate) fn json(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.file(&format!("{name}.json"));
        std::fs::write(&path, serde_json::to_vec_pretty(value)?)?;
        println!("written: {}", path.display());
        Ok(())
    }

    /// Puts `text` between the markers of `section` in the document, if there is one, and its plots beside it.
    pub(crate) fn markdown(&self, section: &str, text: &str) -> Result<()> {
        let Some(document) = &self.document else {
            return Ok(());
        };
        let old = std::fs::read_to_string(document)
            .with_context(|| format!("reading {}", document.display()))?;
        let new = replaced(&old, section, text)
            .with_context(|| format!("{} has no section {section}", document.display()))?;
        std::fs::write(document, new)?;
        self.plots(section, document)?;
        println!("written: {}", document.display());
        Ok(())
    }

    /// Copies the plots of `section` into the folder that is named like the document.
    fn plots(&self, section: &str, document: &Path) -> Result<()> {
        let folder = document.with_extension("");
        for entry in std::fs::read_dir(&self.dir)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(name) = name.filter(|name| {
                name.starts_with(section) && Path::new(name).extension().is_some_and(|e| e == "svg")
            }) {
                std::fs::create_dir_all(&folder)?;
                std::fs::copy(&path, folder.join(name))?;
            }
        }
        Ok(())
    }
}

/// `document` with `text` between the markers of `section`.
fn replaced(document: &str, section: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- bench {section} -->\n"),
        format!("<!-- end of bench {section} -->"),
    );
    let (head, rest) = document.split_once(&begin)?;
    let (_, tail) = rest.split_once(&end)?;
    Some(format!("{head}{begin}\n{text}\n{end}{tail}"))
}

/// This command, as it can be typed again.
pub(crate) fn command() -> String {
    let args: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "cargo run --release -p signalbox-bench -- {}",
        args.join(" ")
    )
    .trim_end()
    .to_owned()
}

/// The machine, as a list.
pub(crate) fn machine(machine: &Machine) -> String {
    format!(
        "- {cores} cores ({cpu}), {memory:.0} GiB, Linux {kernel}, {file_system}; load average before the run: {load}\n\
         - write of 2 KiB into a preallocated file and fdatasync: p50 {p50:.0} µs, p99 {p99:.0} µs\n\
         - RSA-2048/SHA-256 verification of 1.5 KiB messages: {one:.0}/s on one core, {all:.0}/s on all",
        cores = machine.cores,
        cpu = machine.cpu,
        memory = machine.memory_gib,
        kernel = machine.kernel,
        file_system = machine.file_system,
        load = machine.load_average,
        p50 = machine.fdatasync_p50_us,
        p99 = machine.fdatasync_p99_us,
        one = machine.verify_per_s,
        all = machine.verify_all_cores_per_s,
    )
}

/// A size for people.
pub(crate) fn size(bytes: usize) -> String {
    let kib = bytes as f64 / 1024.0;
    if kib.fract() == 0.0 {
        format!("{kib:.0} KiB")
    } else {
        format!("{kib:.1} KiB")
    }
}

/// A measurement in one line.
pub(crate) fn line(variant: Variant, body: usize, connections: usize, of: &Measured) -> String {
    let mut line = format!(
        "{:<24} {:>7} {connections:>3} conn {:>7.0}/s  p50 {:>6.0} p99 {:>6.0} p99.9 {:>6.0} µs  cpu {:>5.1} µs",
        variant.title(),
        size(body),
        of.rate_per_s,
        of.p50_us,
        of.p99_us,
        of.p999_us,
        of.cpu_us
    );
    if of.syncs_per_s > 0.0 {
        let _ = write!(
            line,
            " (+{:.1})  {:.0} MiB  {:.0} syncs/s  {:.0} executions/s",
            of.control_cpu_us, of.resident_mib, of.syncs_per_s, of.executions_per_s
        );
    }
    if of.errors > 0.0 {
        let _ = write!(line, "  {} ERRORS", of.errors);
    }
    line
}

/// The whole of a run, in Markdown.
pub(crate) fn ingest(ingest: &Ingest, ratios: &[Ratio], bars: &[Bar]) -> String {
    let mut text = format!(
        "`{}`, {}, {} rounds of {:.1} s.\n\n{}\n\n",
        ingest.command,
        ingest.started_at,
        ingest.rounds,
        ingest.seconds_each,
        machine(&ingest.machine)
    );
    text.push_str(
        "| | body | connections | requests/s (least–most) | p50 | p99 | p99.9 | CPU µs/request | control plane's | \
         RSS MiB (peak) | fdatasync/s | executions/s |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in &ingest.rows {
        let m = &row.median;
        let own = |text: String| {
            if m.syncs_per_s > 0.0 {
                text
            } else {
                "–".to_owned()
            }
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.0} ({:.0}–{:.0}) | {:.0} µs | {:.0} µs | {:.0} µs | {:.1} | {} | {:.0} ({:.0}) | {} | {} |",
            row.variant.letter(),
            size(row.body_bytes),
            row.connections,
            m.rate_per_s,
            row.rate_range_per_s.0,
            row.rate_range_per_s.1,
            m.p50_us,
            m.p99_us,
            m.p999_us,
            m.cpu_us,
            own(format!("{:.1}", m.control_cpu_us)),
            m.resident_mib,
            m.peak_mib,
            own(format!("{:.0}", m.syncs_per_s)),
            own(format!("{:.0}", m.executions_per_s)),
        );
    }
    text.push_str("\n| ratio | body | connections | by rate | by CPU | by p99 |\n| --- | --- | ---: | ---: | ---: | ---: |\n");
    for ratio in ratios {
        let _ = writeln!(
            text,
            "| {}/{} | {} | {} | {:.2} | {:.2} | {:.1} |",
            ratio.of.letter(),
            ratio.to.letter(),
            size(ratio.body_bytes),
            ratio.connections,
            ratio.rate,
            ratio.cpu,
            ratio.p99,
        );
    }
    text.push('\n');
    text.push_str(&threads(ingest));
    text.push_str(&self::bars(bars));
    text
}

/// Where the CPU time of a node goes, by thread.
fn threads(ingest: &Ingest) -> String {
    let mut text = String::new();
    let rows = ingest
        .rows
        .iter()
        .filter(|row| row.connections == 64 && row.median.syncs_per_s > 0.0);
    for row in rows {
        let mut threads: Vec<_> = row.median.threads_cpu_us.iter().collect();
        threads.sort_by(|one, other| other.1.total_cmp(one.1));
        let threads: Vec<_> = threads
            .into_iter()
            .filter(|(_, us)| **us >= 0.05)
            .map(|(name, us)| format!("{name} {us:.1}"))
            .collect();
        let _ = writeln!(
            text,
            "- CPU by thread, {}, {}, 64 connections, µs/request: {}",
            row.variant.letter(),
            size(row.body_bytes),
            threads.join(", ")
        );
    }
    text.push('\n');
    text
}

/// Bars, as a list.
pub(crate) fn bars(bars: &[Bar]) -> String {
    let mut text = String::new();
    for bar in bars {
        let _ = writeln!(text, "- {}", bar.line());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_the_rest_stays() {
        let old = "# T\n<!-- bench a -->\nold\n<!-- end of bench a -->\ntail <!-- bench b -->\n";
        let new = replaced(old, "a", "new").unwrap();
        assert_eq!(
            new,
            "# T\n<!-- bench a -->\n\nnew\n<!-- end of bench a -->\ntail <!-- bench b -->\n"
        );
        assert_eq!(replaced(&new, "a", "new").unwrap(), new);
        assert!(replaced(old, "c", "new").is_none());
    }
}
