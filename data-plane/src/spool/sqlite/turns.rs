//! Whose turn it is to begin: executions that nobody has claimed are claimed in turns of their workflows, so that one with
//! many of them does not keep the others' waiting.

use std::{collections::BTreeMap, ops::Bound};

/// Executions that wait to begin, by workflow.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// None of them is zero.
    waiting: BTreeMap<String, u64>,
    /// Who had the last turn.
    last: String,
}

impl Turns {
    /// As a file has them.
    pub(super) fn new(waiting: impl IntoIterator<Item = (String, u64)>) -> Self {
        Self {
            waiting: waiting.into_iter().collect(),
            last: String::new(),
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

    /// All workflows and how many of their executions wait, from whoever is next.
    pub(super) fn order(&self) -> impl Iterator<Item = (&str, u64)> {
        let last = self.last.as_str();
        let after = (Bound::Excluded(last), Bound::Unbounded);
        let after = self.waiting.range::<str, _>(after);
        let before = (Bound::Unbounded, Bound::Included(last));
        let before = self.waiting.range::<str, _>(before);
        after
            .chain(before)
            .map(|(workflow, count)| (workflow.as_str(), *count))
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
            turns
                .order()
                .map(|(of, _)| of.to_owned())
                .collect::<String>()
        };
        assert_eq!(order(&turns), "abc");
        turns.took("b", 1);
        assert_eq!(order(&turns), "cab");
        turns.took("b", 1);
        assert_eq!(order(&turns), "ca");
        turns.add("d".to_owned(), 1);
        turns.took("d", 1);
        assert_eq!(order(&turns), "ac");
    }
}
