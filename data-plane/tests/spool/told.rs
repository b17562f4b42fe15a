//! What the children said.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    process::ChildStdout,
};

#[derive(Default)]
pub(crate) struct Told {
    pub(crate) accepted: BTreeSet<String>,
    pub(crate) journalled: BTreeSet<String>,
    pub(crate) finished: BTreeSet<String>,
    /// Taken over by the control plane.
    pub(crate) reported: BTreeSet<String>,
    pub(crate) trimmed: u64,
    /// Events of a batch that is not yet known to be taken over.
    taking: Vec<String>,
}

impl Told {
    fn take(&mut self, line: &str) {
        // The test harness's own words have no mark, and stand before the first that has.
        let Some((what, of)) = line
            .split_once('@')
            .and_then(|(_, line)| line.split_once(' '))
        else {
            return;
        };
        let id = of.to_owned();
        match what {
            "accepted" => assert!(self.accepted.insert(id), "{of} was new twice"),
            "journalled" => assert!(self.journalled.insert(id)),
            "finished" => assert!(self.finished.insert(id)),
            "reported" => self.taking.push(id),
            "trimming" => {
                self.trimmed = of.parse().unwrap();
                for id in self.taking.drain(..) {
                    assert!(self.reported.insert(id), "reported twice");
                }
            }
            _ => panic!("{line}"),
        }
    }
}

/// Reads whole lines only: one that the kill cut short says nothing.
pub(crate) struct Reader(BufReader<ChildStdout>);

impl Reader {
    pub(crate) fn new(of: ChildStdout) -> Self {
        Self(BufReader::new(of))
    }

    fn next(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.0.read_until(b'\n', &mut line).unwrap();
        (line.pop() == Some(b'\n')).then(|| String::from_utf8(line).unwrap())
    }

    /// Until there is one more of what `count` counts.
    pub(crate) fn until_one_more(&mut self, told: &mut Told, count: impl Fn(&Told) -> usize) {
        let before = count(told);
        while count(told) == before {
            let line = self.next().expect("the child says something");
            told.take(&line);
        }
    }

    pub(crate) fn rest(&mut self, told: &mut Told) {
        while let Some(line) = self.next() {
            told.take(&line);
        }
        // Not acknowledged: the next process sends it again.
        told.taking.clear();
    }
}
