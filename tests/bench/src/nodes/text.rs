//! What `nodes` has found, for people.

use std::fmt::Write as _;

use super::{Found, Real, Revoked, Storm};
use crate::{output, results::Bar};

/// A revocation is effective at each node within so long.
const REVOKED_MAX_MS: f64 = 1_000.0;
/// A node is ready within so long of its start.
const COLD_MAX_S: f64 = 5.0;
/// CPU time of a change for each node, with the most nodes over that with fewer, at most: what it costs grows no faster than
/// their number.
const GROWTH_MAX: f64 = 1.5;
/// A stuck node makes the others' p99 this much longer at most, and so much for chance.
const STUCK_MAX: f64 = 1.25;
const STUCK_MORE_MS: f64 = 10.0;
/// All nodes are up to date again within so long.
const STORM_MAX_S: f64 = 120.0;

/// Of revocations, in one line.
pub(super) fn line(of: &Revoked) -> String {
    format!(
        "{:>5} nodes{}: p50 {:.1} ms, p99 {:.1} ms; the last p50 {:.1} ms, p99 {:.1} ms; CPU {:.0} µs, {:.0} bytes a change",
        of.nodes,
        if of.has_stuck { " and a stuck one" } else { "" },
        of.p50_ms,
        of.p99_ms,
        of.last_p50_ms,
        of.last_p99_ms,
        of.cpu_us,
        of.bytes
    )
}

/// Of a storm, in one line.
pub(super) fn storm(of: &Storm) -> String {
    format!(
        "{} nodes{} are up to date {:.1} s after all connections were cut: {} streams, {:.0} MiB, CPU {:.1} s, peak {:.0} MiB",
        of.nodes,
        if of.forgot { ", which forgot all," } else { "" },
        of.settled_s,
        of.streams,
        of.mib,
        of.cpu_s,
        of.peak_mib
    )
}

pub(super) fn bars(
    real: &Real,
    revoked: &[Revoked],
    stuck_for_s: Option<f64>,
    storms: &[Storm],
) -> Vec<Bar> {
    let mut bars = Vec::new();
    let without: Vec<&Revoked> = revoked.iter().filter(|of| !of.has_stuck).collect();
    if let Some(all) = without.last() {
        bars.push(Bar::new(
            "revoked until effective at the last of all nodes, p99 less than 1 s",
            format!(
                "{:.0} ms with {} nodes, at most {:.0} ms",
                all.last_p99_ms, all.nodes, all.last_max_ms
            ),
            all.last_p99_ms < REVOKED_MAX_MS,
        ));
        bars.push(Bar::new(
            "the same at a whole data plane beside them, each time less than 1 s",
            format!("at most {:.0} ms", real.revoked_max_ms),
            real.revoked_max_ms < REVOKED_MAX_MS,
        ));
    }
    if let [.., fewer, all] = &without[..] {
        let of_node = |of: &Revoked| of.cpu_us / of.nodes as f64;
        let bytes = |of: &Revoked| of.bytes / of.nodes as f64;
        bars.push(Bar::new(
            "CPU and bytes of a change grow no faster than the number of nodes (1.5 for chance)",
            format!(
                "of each node {:.1} to {:.1} µs and {:.0} to {:.0} bytes",
                of_node(fewer),
                of_node(all),
                bytes(fewer),
                bytes(all)
            ),
            of_node(all) <= GROWTH_MAX * of_node(fewer) && bytes(all) <= GROWTH_MAX * bytes(fewer),
        ));
    }
    bars.push(Bar::new(
        "a node with nothing is ready within 5 s of its start",
        format!("{:.2} s", real.cold_s),
        real.cold_s < COLD_MAX_S,
    ));
    let stuck = revoked.iter().find(|of| of.has_stuck);
    if let (Some(all), Some(stuck)) = (without.last(), stuck) {
        bars.push(Bar::new(
            "a stuck node does not delay the others (p99 of the last at most 1.25 as long and 10 ms)",
            format!("{:.1} and {:.1} ms", all.last_p99_ms, stuck.last_p99_ms),
            stuck.last_p99_ms <= STUCK_MAX * all.last_p99_ms + STUCK_MORE_MS,
        ));
        bars.push(Bar::new(
            "a stuck node is let go",
            stuck_for_s.map_or("it was not".to_owned(), |s| format!("after {s:.0} s")),
            stuck_for_s.is_some(),
        ));
    }
    for storm in storms {
        bars.push(Bar::new(
            if storm.forgot {
                "all nodes come back at once with nothing, and are up to date within two minutes"
            } else {
                "all nodes come back at once, and are up to date within two minutes"
            },
            format!("{:.1} s, peak {:.0} MiB", storm.settled_s, storm.peak_mib),
            storm.settled_s <= STORM_MAX_S,
        ));
    }
    bars
}

pub(super) fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}, {}, {} workflows and {} keys, written in {:.0} s.\n\n{}\n\n\
         | nodes | revocations | until a node has it, p50 | p99 | until the last has it, p50 | p99 | longest | \
         control plane's CPU a change | bytes a change | its RSS |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        found.database,
        found.workflows,
        found.keys,
        found.filled_s,
        output::machine(&found.machine)
    );
    for of in &found.revoked {
        let _ = writeln!(
            text,
            "| {}{} | {} | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.0} µs | {:.0} | {:.0} MiB |",
            of.nodes,
            if of.has_stuck { " and a stuck one" } else { "" },
            of.revocations,
            of.p50_ms,
            of.p99_ms,
            of.last_p50_ms,
            of.last_p99_ms,
            of.last_max_ms,
            of.cpu_us,
            of.bytes,
            of.control_mib
        );
    }
    text.push_str(
        "\n| all connections cut at once | up to date again after | streams | MiB sent | control plane's CPU | peak RSS | RSS afterwards |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for of in &found.storms {
        let _ = writeln!(
            text,
            "| {} nodes{} | {:.1} s | {} | {:.0} | {:.1} s | {:.0} MiB | {:.0} MiB |",
            of.nodes,
            if of.forgot { " that forgot all" } else { "" },
            of.settled_s,
            of.streams,
            of.mib,
            of.cpu_s,
            of.peak_mib,
            of.control_mib
        );
    }
    let real = &found.real;
    let _ = writeln!(
        text,
        "\n- a whole data plane: ready {:.2} s after its start with nothing, {:.2} s with what it had; RSS {:.0} MiB; \
         revoked until refused there, with all nodes connected: p50 {:.0} ms, at most {:.0} ms\n\
         - the control plane before a node had come: RSS {:.0} MiB\n",
        real.cold_s,
        real.warm_s,
        real.resident_mib,
        real.revoked_p50_ms,
        real.revoked_max_ms,
        found.control_mib
    );
    text.push_str(&output::bars(&found.bars));
    text
}
