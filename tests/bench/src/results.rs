//! What was measured, and what follows from it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{machine::Machine, subject::Variant};

/// One variant with bodies of one size at one number of connections, once.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Measured {
    pub(crate) requests: f64,
    /// Answers that were no 200, duplicates, broken connections.
    pub(crate) errors: f64,
    pub(crate) rate_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// CPU time of the server's process for each request, everything that it did meanwhile included.
    pub(crate) cpu_us: f64,
    /// The same by thread.
    pub(crate) threads_cpu_us: BTreeMap<String, f64>,
    /// CPU time of the control plane for each request.
    pub(crate) control_cpu_us: f64,
    /// CPU time of the load itself for each request.
    pub(crate) load_cpu_us: f64,
    pub(crate) resident_mib: f64,
    pub(crate) peak_mib: f64,
    /// fdatasync of the intake log; 0 where there is none.
    pub(crate) syncs_per_s: f64,
    /// Executions that ended meanwhile, for each second.
    pub(crate) executions_per_s: f64,
}

impl Measured {
    /// Field by field the median of several.
    pub(crate) fn median(of: &[Self]) -> Self {
        let median = |field: fn(&Self) -> f64| median(of.iter().map(field).collect());
        let mut threads_cpu_us = BTreeMap::new();
        for name in of.iter().flat_map(|one| one.threads_cpu_us.keys()) {
            let values = of
                .iter()
                .map(|one| one.threads_cpu_us.get(name).copied().unwrap_or_default());
            threads_cpu_us.insert(name.clone(), self::median(values.collect()));
        }
        Self {
            requests: median(|one| one.requests),
            // Errors are not averaged away.
            errors: of.iter().map(|one| one.errors).sum(),
            rate_per_s: median(|one| one.rate_per_s),
            p50_us: median(|one| one.p50_us),
            p99_us: median(|one| one.p99_us),
            p999_us: median(|one| one.p999_us),
            cpu_us: median(|one| one.cpu_us),
            threads_cpu_us,
            control_cpu_us: median(|one| one.control_cpu_us),
            load_cpu_us: median(|one| one.load_cpu_us),
            resident_mib: median(|one| one.resident_mib),
            peak_mib: median(|one| one.peak_mib),
            syncs_per_s: median(|one| one.syncs_per_s),
            executions_per_s: median(|one| one.executions_per_s),
        }
    }
}

/// The median; 0 of nothing.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[odd / 2],
        even => f64::midpoint(values[even / 2 - 1], values[even / 2]),
    }
}

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) variant: Variant,
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) median: Measured,
    /// Smallest and largest rate of the rounds: how noisy the machine was.
    pub(crate) rate_range_per_s: (f64, f64),
    pub(crate) rounds: Vec<Measured>,
}

impl Row {
    /// Of the rounds of one cell.
    pub(crate) fn new(
        variant: Variant,
        body_bytes: usize,
        connections: usize,
        rounds: Vec<Measured>,
    ) -> Self {
        let rates = rounds.iter().map(|round| round.rate_per_s);
        Self {
            variant,
            body_bytes,
            connections,
            median: Measured::median(&rounds),
            rate_range_per_s: (
                rates.clone().fold(f64::INFINITY, f64::min),
                rates.fold(0.0, f64::max),
            ),
            rounds,
        }
    }
}

/// All of a run of `ingest`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ingest {
    pub(crate) machine: Machine,
    pub(crate) command: String,
    pub(crate) started_at: String,
    pub(crate) rounds: usize,
    pub(crate) seconds_each: f64,
    pub(crate) rows: Vec<Row>,
}

/// A ratio of two variants in one cell.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) of: Variant,
    pub(crate) to: Variant,
    pub(crate) rate: f64,
    pub(crate) cpu: f64,
    pub(crate) p99: f64,
}

impl Ingest {
    /// A row's medians.
    pub(crate) fn cell(
        &self,
        variant: Variant,
        body_bytes: usize,
        connections: usize,
    ) -> Option<&Measured> {
        self.rows
            .iter()
            .find(|row| {
                row.variant == variant
                    && row.body_bytes == body_bytes
                    && row.connections == connections
            })
            .map(|row| &row.median)
    }

    /// c/a, c/b and d/b, and c with its executions held back to b, in every cell that has both. A ratio is the median of
    /// the rounds' ratios: the two of a round were measured within seconds of each other.
    pub(crate) fn ratios(&self) -> Vec<Ratio> {
        let pairs = [
            (Variant::Signalbox, Variant::Hyper),
            (Variant::Signalbox, Variant::Verify),
            (Variant::Held, Variant::Verify),
            (Variant::Tls, Variant::Verify),
        ];
        let mut ratios = Vec::new();
        for row in &self.rows {
            for (of, to) in pairs.into_iter().filter(|(of, _)| *of == row.variant) {
                let base = self.rows.iter().find(|base| {
                    base.variant == to
                        && base.body_bytes == row.body_bytes
                        && base.connections == row.connections
                });
                let Some(base) = base else { continue };
                let ratio = |field: fn(&Measured) -> f64| {
                    let both = row.rounds.iter().zip(&base.rounds);
                    median(both.map(|(own, base)| field(own) / field(base)).collect())
                };
                ratios.push(Ratio {
                    body_bytes: row.body_bytes,
                    connections: row.connections,
                    of,
                    to,
                    rate: ratio(|one| one.rate_per_s),
                    cpu: ratio(|one| one.cpu_us),
                    p99: ratio(|one| one.p99_us),
                });
            }
        }
        ratios
    }
}

/// Something that was asked for, and what was found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Bar {
    pub(crate) asked: String,
    pub(crate) found: String,
    pub(crate) is_met: bool,
}

impl Bar {
    pub(crate) fn new(asked: &str, found: String, is_met: bool) -> Self {
        Self {
            asked: asked.to_owned(),
            found,
            is_met,
        }
    }

    /// One line of it.
    pub(crate) fn line(&self) -> String {
        let verdict = if self.is_met { "met" } else { "NOT met" };
        format!("{verdict}: {} ({})", self.asked, self.found)
    }
}

/// The bars of the ingest path, as far as what they are about was measured.
pub(crate) fn bars(of: &Ingest, body_bytes: usize) -> Vec<Bar> {
    let mut bars = Vec::new();
    let cell = |variant, connections| of.cell(variant, body_bytes, connections);
    let ratios = of.ratios();
    let ratio_at_64 = |of| {
        ratios.iter().find(|ratio| {
            ratio.body_bytes == body_bytes
                && ratio.connections == 64
                && ratio.of == of
                && ratio.to == Variant::Verify
        })
    };
    for (of, asked) in [
        (
            Variant::Held,
            "c/b by rate at least 0.85, executions held back, 64 connections, 1.5 KiB",
        ),
        (
            Variant::Signalbox,
            "the same with the executions on the same cores",
        ),
    ] {
        if let Some(ratio) = ratio_at_64(of) {
            let found = format!("{:.2}", ratio.rate);
            bars.push(Bar::new(asked, found, ratio.rate >= 0.85));
        }
    }
    if let Some(c) = cell(Variant::Signalbox, 64) {
        bars.push(Bar::new(
            "CPU of c at most 34 µs a request, 64 connections, 1.5 KiB",
            format!("{:.1} µs, the executions' share included", c.cpu_us),
            c.cpu_us <= 34.0,
        ));
    }
    if let Some(held) = cell(Variant::Held, 64) {
        bars.push(Bar::new(
            "the same for the answer alone, executions held back",
            format!("{:.1} µs", held.cpu_us),
            held.cpu_us <= 34.0,
        ));
    }
    if let (Some(b), Some(c)) = (cell(Variant::Verify, 64), cell(Variant::Signalbox, 64)) {
        let limit = 3.0 * b.p99_us + 2.0 * of.machine.fdatasync_p50_us;
        bars.push(Bar::new(
            "p99 of c at most 3 × p99 of b + 2 fdatasyncs, 64 connections, 1.5 KiB",
            format!("{:.0} µs, limit {limit:.0} µs", c.p99_us),
            c.p99_us <= limit,
        ));
    }
    if let (Some(b), Some(c)) = (cell(Variant::Verify, 1), cell(Variant::Signalbox, 1)) {
        let limit = b.p50_us + 2.0 * of.machine.fdatasync_p50_us;
        bars.push(Bar::new(
            "p50 of c at one connection is b's and one fdatasync plus small change (taken as 2 fdatasyncs), 1.5 KiB",
            format!("{:.0} µs, limit {limit:.0} µs", c.p50_us),
            c.p50_us <= limit,
        ));
    }
    let errors: f64 = of.rows.iter().map(|row| row.median.errors).sum();
    bars.push(Bar::new(
        "no error in any cell",
        format!("{errors:.0}"),
        errors == 0.0,
    ));
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(rates: &[f64]) -> Vec<Measured> {
        let of = |rate: &f64| Measured {
            rate_per_s: *rate,
            cpu_us: 1e6 / rate,
            errors: 1.0,
            ..Measured::default()
        };
        rates.iter().map(of).collect()
    }

    #[test]
    fn a_ratio_is_of_what_was_measured_together() {
        // The machine was slow in the second round, for both.
        let rows = vec![
            Row::new(Variant::Verify, 1536, 64, rounds(&[100.0, 10.0, 110.0])),
            Row::new(Variant::Signalbox, 1536, 64, rounds(&[90.0, 9.0, 66.0])),
        ];
        let ingest = Ingest {
            machine: Machine::default(),
            command: String::new(),
            started_at: String::new(),
            rounds: 3,
            seconds_each: 1.0,
            rows,
        };
        let ratios = ingest.ratios();
        assert_eq!(ratios.len(), 1);
        assert!((ratios[0].rate - 0.9).abs() < 1e-9);
        assert!((ratios[0].cpu - 1.0 / 0.9).abs() < 1e-9);
        let bars = bars(&ingest, 1536);
        assert!(bars[0].is_met, "{}", bars[0].line());
        // No error of any round goes by.
        assert_eq!(ingest.rows[1].median.errors, 3.0);
        assert!(!bars.last().unwrap().is_met);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
