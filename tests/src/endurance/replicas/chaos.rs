//! Trouble of each kind, in no order, again and again.

use std::time::Duration;

use rand::{RngExt as _, seq::SliceRandom as _};

use super::{Installation, REPLICAS, Report};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Kill,
    Crash,
    Restart,
    EndConnections,
    CutFromDatabase,
    CutFromNodes,
}

const KINDS: [Trouble; 6] = [
    Trouble::Kill,
    Trouble::Crash,
    Trouble::Restart,
    Trouble::EndConnections,
    Trouble::CutFromDatabase,
    Trouble::CutFromNodes,
];

pub(super) struct Chaos {
    tells: bool,
    /// What comes next, from the end.
    deck: Vec<Trouble>,
    decks: usize,
}

impl Chaos {
    pub(super) fn new(tells: bool) -> Self {
        Self {
            tells,
            deck: Vec::new(),
            decks: 0,
        }
    }

    /// Whether each kind was there.
    pub(super) fn has_played(&self) -> bool {
        self.decks > 1 || self.decks == 1 && self.deck.is_empty()
    }

    /// Makes trouble, mends it, and leaves some quiet behind it.
    pub(super) async fn next(&mut self, installation: &mut Installation, report: &mut Report) {
        let (trouble, which, lasts, quiet) = {
            let mut rng = rand::rng();
            if self.deck.is_empty() {
                self.deck = KINDS.to_vec();
                self.deck.shuffle(&mut rng);
                self.decks += 1;
            }
            (
                self.deck.pop(),
                rng.random_range(0..REPLICAS),
                Duration::from_millis(rng.random_range(200..2_500)),
                Duration::from_millis(rng.random_range(200..2_000)),
            )
        };
        let Some(trouble) = trouble else { return };
        if self.tells {
            eprintln!("{trouble:?}, replica {which}, {lasts:.1?}");
        }
        match trouble {
            Trouble::Kill => {
                installation.control(which).kill();
                tokio::time::sleep(lasts).await;
                installation.control(which).start().await;
                report.replicas_killed += 1;
            }
            Trouble::Crash => {
                stopped(installation, "immediate", lasts).await;
                report.database_crashed += 1;
            }
            Trouble::Restart => {
                stopped(installation, "fast", lasts).await;
                report.database_restarted += 1;
            }
            Trouble::EndConnections => {
                let ended = installation.postgres.sql(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()",
                );
                report.connections_ended += ended.parse::<usize>().unwrap();
            }
            Trouble::CutFromDatabase => {
                installation.to_database[which].cut();
                tokio::time::sleep(lasts).await;
                installation.to_database[which].mend();
                report.cut_from_database += 1;
            }
            Trouble::CutFromNodes => {
                installation.to_replicas[which].cut();
                tokio::time::sleep(lasts).await;
                installation.to_replicas[which].mend();
                report.cut_from_nodes += 1;
            }
        }
        tokio::time::sleep(quiet).await;
    }
}

async fn stopped(installation: &Installation, mode: &str, lasts: Duration) {
    tokio::task::block_in_place(|| installation.postgres.stop(mode));
    tokio::time::sleep(lasts).await;
    tokio::task::block_in_place(|| installation.postgres.start_again());
}
