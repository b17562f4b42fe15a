//! Whose turn it is: executions that nobody has claimed are claimed in turns of their workflows, so that one with many of them
//! does not keep the others' waiting.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// Looking behind those of one workflow that are due is dear where they are many.
const FAR_LOOK_INTERVAL: SignedDuration = SignedDuration::from_millis(50);

/// Numbers of parked executions that are due, the longest first, by workflow.
pub(super) type ByWorkflow = BTreeMap<String, Vec<i64>>;

/// What there is to claim of a workflow.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    /// Numbers of those that are due, the longest first.
    pub(super) due: Vec<i64>,
    /// How many wait to begin, or to go on after they were due.
    pub(super) new: u64,
}

impl Wants {
    pub(super) fn count(&self) -> usize {
        let new = usize::try_from(self.new).unwrap_or(usize::MAX);
        self.due.len().saturating_add(new)
    }
}

/// Executions that wait to begin, by workflow.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// None of them is zero.
    waiting: BTreeMap<String, u64>,
    /// Who had the last turn.
    last: String,
    /// When it was looked far at those that are due.
    looked_far: Option<Timestamp>,
}

impl Turns {
    /// As a file has them.
    pub(super) fn new(waiting: impl IntoIterator<Item = (String, u64)>) -> Self {
        Self {
            waiting: waiting.into_iter().collect(),
            ..Self::default()
        }
    }

    /// How many wait, of all workflows.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.values().sum()
    }

    /// `count` more wait.
    pub(super) fn add(&mut self, workflow: String, count: u64) {
        *self.waiting.entry(workflow).or_default() += count;
    }

    /// The workflow had a turn, and `count` of its executions have begun.
    pub(super) fn took(&mut self, workflow: &str, count: u64) {
        if let Some(waiting) = self.waiting.get_mut(workflow) {
            *waiting = waiting.saturating_sub(count);
            if *waiting == 0 {
                self.waiting.remove(workflow);
            }
        }
        workflow.clone_into(&mut self.last);
    }

    /// `count` of the workflow's executions wait no more, without a turn of it.
    pub(super) fn leave(&mut self, workflow: &str, count: u64) {
        if let Some(waiting) = self.waiting.get_mut(workflow) {
            *waiting = waiting.saturating_sub(count);
            if *waiting == 0 {
                self.waiting.remove(workflow);
            }
        }
    }

    /// What there is to claim of all workflows, with those that are due, from whoever is next.
    pub(super) fn with_due(&self, due: ByWorkflow) -> Vec<(String, Wants)> {
        let waiting = self.waiting.iter().map(|(workflow, new)| {
            let wants = Wants {
                new: *new,
                ..Wants::default()
            };
            (workflow.clone(), wants)
        });
        let mut all: BTreeMap<String, Wants> = waiting.collect();
        for (workflow, due) in due {
            all.entry(workflow).or_default().due = due;
        }
        let mut next: Vec<_> = all.into_iter().collect();
        let after = next.partition_point(|(workflow, _)| *workflow <= self.last);
        next.rotate_left(after);
        next
    }

    /// Whether it is time to look far at those that are due.
    pub(super) fn looks_far(&self, now: Timestamp) -> bool {
        self.looked_far.is_none_or(|looked| {
            let since = now.duration_since(looked);
            // The time of day can be set back.
            since >= FAR_LOOK_INTERVAL || since.is_negative()
        })
    }

    /// It was looked far.
    pub(super) fn looked_far(&mut self, now: Timestamp) {
        self.looked_far = Some(now);
    }
}

/// Shares `total` out to those who want so many: to each the same, and what some do not want to the others.
pub(super) fn share_out(total: usize, wants: &[usize]) -> Vec<usize> {
    let mut shares = vec![0; wants.len()];
    let mut left = total;
    loop {
        let open = shares.iter().zip(wants).filter(|(has, wants)| has < wants);
        let open = open.count();
        if left == 0 || open == 0 {
            return shares;
        }
        let each = (left / open).max(1);
        for (share, want) in shares.iter_mut().zip(wants) {
            let more = each.min(want - *share).min(left);
            *share += more;
            left -= more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_do_not_want_the_others_get() {
        for (total, wants, shares) in [
            (10, vec![], vec![]),
            (10, vec![100], vec![10]),
            (10, vec![1, 100, 2], vec![1, 7, 2]),
            (10, vec![100, 100, 100], vec![4, 3, 3]),
            (2, vec![5, 5, 5], vec![1, 1, 0]),
            (10, vec![0, 3, 0], vec![0, 3, 0]),
            (5, vec![usize::MAX, usize::MAX], vec![3, 2]),
        ] {
            assert_eq!(share_out(total, &wants), shares, "{total} to {wants:?}");
        }
    }

    #[test]
    fn the_next_is_whoever_comes_after_the_last() {
        let name = |name: &str| (name.to_owned(), 2);
        let mut turns = Turns::new([name("a"), name("b"), name("c")]);
        let order = |turns: &Turns| {
            let all = turns.with_due(ByWorkflow::new()).into_iter();
            all.map(|(of, _)| of).collect::<String>()
        };
        assert_eq!(order(&turns), "abc");
        turns.took("b", 1);
        assert_eq!(order(&turns), "cab");
        turns.took("b", 1);
        assert_eq!(order(&turns), "ca");
        turns.add("d".to_owned(), 1);
        turns.took("d", 1);
        assert_eq!(order(&turns), "ac");

        let due = ByWorkflow::from([("b".to_owned(), vec![7, 4]), ("c".to_owned(), vec![5])]);
        let wants = |due: &[i64], new| Wants {
            due: due.to_vec(),
            new,
        };
        let all = [
            ("a".to_owned(), wants(&[], 2)),
            ("b".to_owned(), wants(&[7, 4], 0)),
            ("c".to_owned(), wants(&[5], 2)),
        ];
        assert_eq!(turns.with_due(due), all);
    }
}
