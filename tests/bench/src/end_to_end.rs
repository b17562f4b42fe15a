//! `end-to-end`: a workflow of one step, from the message that starts it until its execution has ended well: SUCCEEDED in
//! the control plane, read through the API; of n8n, what its database says.

mod measure;

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use serde::Serialize;

use self::measure::Plan;
use crate::{
    ingest::{SMALL_BYTES, corpus, ground},
    machine::Machine,
    origin, output,
    peers::{self, Kind},
    results::{Bar, median},
};

/// What `end-to-end` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct EndToEndArgs {
    /// What the one step does.
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = [Step::Transform, Step::Http])]
    steps: Vec<Step>,
    /// Messages that are sent to Signalbox as fast as it takes them.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,
    /// The same of n8n.
    #[arg(long, default_value_t = 1_000)]
    peer_messages: u64,
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Messages a second at which latencies are measured.
    #[arg(long, value_delimiter = ',', default_values_t = [20.0, 200.0])]
    rates: Vec<f64>,
    /// How long at each of these rates, in milliseconds.
    #[arg(long, default_value_t = 10_000)]
    duration_ms: u64,
    /// Rounds; medians are shown.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Without n8n.
    #[arg(long)]
    alone: bool,
}

impl EndToEndArgs {
    /// Messages of `rate` a second.
    fn paced(&self, rate: f64) -> u64 {
        (rate * self.duration_ms as f64 / 1000.0).max(1.0) as u64
    }
}

/// The one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Step {
    /// Puts a text together with the message's id.
    Transform,
    /// Posts the message's id to a server on the loopback.
    Http,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Transform => "transform",
            Self::Http => "http",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Who {
    Signalbox,
    N8n,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Signalbox => "Signalbox",
            Self::N8n => "n8n",
        }
    }
}

/// Quantiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Latency {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Latency {
    fn of(mut values_ms: Vec<f64>) -> Self {
        values_ms.sort_by(f64::total_cmp);
        let at = |quantile: f64| {
            let last = values_ms.len().saturating_sub(1);
            let place = (last as f64 * quantile).round() as usize;
            values_ms.get(place).copied().unwrap_or_default()
        };
        Self {
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }

    fn median(of: &[Self]) -> Self {
        let field = |field: fn(&Self) -> f64| median(of.iter().map(field).collect());
        Self {
            p50_ms: field(|one| one.p50_ms),
            p99_ms: field(|one| one.p99_ms),
            max_ms: field(|one| one.max_ms),
        }
    }
}

/// Messages that came at their times.
#[derive(Clone, Debug, Serialize)]
struct Paced {
    per_s: f64,
    executions: u64,
    /// Until the execution ended, by the server's own record.
    ended: Latency,
    /// Until that was seen through the API; none of n8n.
    seen: Option<Latency>,
    /// How much later than at its time a message was sent.
    sent_late: Latency,
}

/// One server with one workflow, in one round.
#[derive(Clone, Debug, Serialize)]
struct Measured {
    who: Who,
    step: Step,
    /// Executions, from the first message sent to the last execution ended, when messages come as fast as they are taken.
    per_s: f64,
    /// Answers a second meanwhile.
    answered_per_s: f64,
    /// CPU time of all its processes for each of them.
    cpu_us: f64,
    resident_mib: f64,
    /// Answers that were no 200, and acknowledged messages whose execution did not end well.
    errors: f64,
    paced: Vec<Paced>,
}

/// The medians of the rounds.
#[derive(Clone, Debug, Serialize)]
struct Row {
    who: Who,
    step: Step,
    per_s: f64,
    range_per_s: (f64, f64),
    answered_per_s: f64,
    cpu_us: f64,
    resident_mib: f64,
    errors: f64,
    paced: Vec<Paced>,
    rounds: Vec<Measured>,
}

impl Row {
    fn new(who: Who, step: Step, rounds: Vec<Measured>) -> Self {
        let of = |field: fn(&Measured) -> f64| median(rounds.iter().map(field).collect());
        let rates = || rounds.iter().map(|round| round.per_s);
        Self {
            who,
            step,
            per_s: of(|round| round.per_s),
            range_per_s: (
                rates().fold(f64::INFINITY, f64::min),
                rates().fold(0.0, f64::max),
            ),
            answered_per_s: of(|round| round.answered_per_s),
            cpu_us: of(|round| round.cpu_us),
            resident_mib: of(|round| round.resident_mib),
            errors: rounds.iter().map(|round| round.errors).sum(),
            paced: paced(&rounds),
            rounds,
        }
    }
}

/// Rate by rate the medians of those rounds that have it.
fn paced(rounds: &[Measured]) -> Vec<Paced> {
    let mut rates: Vec<f64> = rounds
        .iter()
        .flat_map(|round| round.paced.iter().map(|paced| paced.per_s))
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    rates
        .into_iter()
        .map(|per_s| {
            let all: Vec<&Paced> = rounds
                .iter()
                .flat_map(|round| &round.paced)
                .filter(|paced| paced.per_s.total_cmp(&per_s).is_eq())
                .collect();
            let of = |field: fn(&Paced) -> Option<Latency>| {
                let found: Vec<_> = all.iter().filter_map(|paced| field(paced)).collect();
                (!found.is_empty()).then(|| Latency::median(&found))
            };
            Paced {
                per_s,
                executions: all.iter().map(|paced| paced.executions).sum(),
                ended: of(|paced| Some(paced.ended)).unwrap_or_default(),
                seen: of(|paced| paced.seen),
                sent_late: of(|paced| Some(paced.sent_late)).unwrap_or_default(),
            }
        })
        .collect()
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    rows: Vec<Row>,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: EndToEndArgs, out: &output::Out) -> Result<()> {
    ensure!(args.rounds > 0, "at least one round");
    ensure!(
        args.rates.iter().all(|rate| *rate > 0.0),
        "a rate is more than 0 messages a second"
    );
    let mut all = vec![Who::Signalbox];
    if !args.alone {
        peers::install(Kind::N8n)?;
        all.push(Who::N8n);
    }
    let started_at = Timestamp::now().to_string();
    let ground = ground(&out.dir).await?;
    let most = args.messages.max(args.peer_messages) + measure::WARM_UP;
    let count = most + args.rates.iter().map(|rate| args.paced(*rate)).sum::<u64>();
    let corpus = corpus(&ground, SMALL_BYTES, count)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let plan = Plan {
        service: origin::service().await?,
        args: &args,
        ground: &ground,
        corpus: &corpus,
    };
    let mut rows = Vec::new();
    for step in &args.steps {
        let mut rounds: Vec<Vec<Measured>> = vec![Vec::new(); all.len()];
        for _ in 0..args.rounds {
            for (place, who) in all.iter().enumerate() {
                let measured = plan.measure(*who, *step).await?;
                println!("{}", line(&measured));
                rounds[place].push(measured);
            }
        }
        let of_all = all.iter().zip(rounds);
        rows.extend(of_all.map(|(who, rounds)| Row::new(*who, *step, rounds)));
    }
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        bars: bars(&rows),
        rows,
    };
    let text = text(&found);
    println!("\n{text}");
    out.json("end-to-end", &found)?;
    out.markdown("end-to-end", &text)
}

fn line(of: &Measured) -> String {
    let mut line = format!(
        "{:<10} {:<10} {:>6.0} executions/s  cpu {:>7.0} µs",
        of.who.name(),
        of.step.name(),
        of.per_s,
        of.cpu_us
    );
    for paced in &of.paced {
        let ended = &paced.ended;
        let _ = write!(
            line,
            "  {:.0}/s: p50 {:.1} p99 {:.1} ms",
            paced.per_s, ended.p50_ms, ended.p99_ms
        );
    }
    if of.errors > 0.0 {
        let _ = write!(line, "  {} ERRORS", of.errors);
    }
    line
}

fn bars(rows: &[Row]) -> Vec<Bar> {
    let of = |who: Who| rows.iter().filter(move |row| row.who == who);
    let errors: f64 = of(Who::Signalbox).map(|row| row.errors).sum();
    vec![Bar::new(
        "Signalbox: every message is one execution, and SUCCEEDED",
        format!("{errors:.0} were not"),
        errors == 0.0,
    )]
}

fn text(found: &Found) -> String {
    let mut text = format!(
        "`{}`, {}.\n\n{}\n\n| one step | | executions/s (least–most) | answers/s meanwhile | CPU µs/execution | RSS MiB | errors |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        found.command,
        found.started_at,
        output::machine(&found.machine)
    );
    for row in &found.rows {
        let (least, most) = row.range_per_s;
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} ({least:.0}–{most:.0}) | {:.0} | {:.0} | {:.0} | {:.0} |",
            row.step.name(),
            row.who.name(),
            row.per_s,
            row.answered_per_s,
            row.cpu_us,
            row.resident_mib,
            row.errors
        );
    }
    text.push_str(
        "\n| one step | | messages/s | ended: p50 | p99 | most | seen through the API: p50 | p99 | most |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in &found.rows {
        for paced in &row.paced {
            let Latency {
                p50_ms,
                p99_ms,
                max_ms,
            } = paced.ended;
            let seen = paced.seen.map_or_else(
                || "– | – | –".to_owned(),
                |seen| {
                    format!(
                        "{:.1} ms | {:.1} ms | {:.1} ms",
                        seen.p50_ms, seen.p99_ms, seen.max_ms
                    )
                },
            );
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} | {p50_ms:.1} ms | {p99_ms:.1} ms | {max_ms:.1} ms | {seen} |",
                row.step.name(),
                row.who.name(),
                paced.per_s
            );
        }
    }
    text.push('\n');
    text.push_str(&output::bars(&found.bars));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_there_is() {
        let of = Latency::of((1..=101).rev().map(f64::from).collect());
        assert_eq!((of.p50_ms, of.p99_ms, of.max_ms), (51.0, 100.0, 101.0));
        let none = Latency::of(Vec::new());
        assert_eq!((none.p50_ms, none.max_ms), (0.0, 0.0));
    }

    #[test]
    fn a_rate_that_one_round_lacks_is_that_of_the_others() {
        let round = |p50_ms: Option<f64>| Measured {
            who: Who::N8n,
            step: Step::Http,
            per_s: 1.0,
            answered_per_s: 1.0,
            cpu_us: 1.0,
            resident_mib: 1.0,
            errors: 1.0,
            paced: p50_ms
                .map(|p50_ms| Paced {
                    per_s: 20.0,
                    executions: 5,
                    ended: Latency {
                        p50_ms,
                        ..Latency::default()
                    },
                    seen: None,
                    sent_late: Latency::default(),
                })
                .into_iter()
                .collect(),
        };
        let row = Row::new(
            Who::N8n,
            Step::Http,
            vec![round(Some(3.0)), round(None), round(Some(5.0))],
        );
        assert_eq!(row.paced.len(), 1);
        assert_eq!(row.paced[0].executions, 10);
        assert_eq!(row.paced[0].ended.p50_ms, 4.0);
        assert!(row.paced[0].seen.is_none());
        assert_eq!(row.errors, 3.0);
    }
}
