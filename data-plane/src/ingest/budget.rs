//! How many refusals, copies and filtered messages are recorded. Beyond it they are only counted, so that nobody can fill a
//! node's spool with them, or crowd out the records of others.

use std::{sync::Arc, time::Duration};

use governor::Quota;
use moka::sync::Cache;
use signalbox_model::ids::WorkflowName;

use crate::rate::{Bucket, fixed};

/// Refusals of callers who showed no live key of the workflow.
const STRANGERS: Quota = fixed(10, 100);
/// Refusals of callers who did; a workflow's share comes on top of what strangers use.
const CALLERS: Quota = fixed(200, 2000);
const CALLERS_SHARE: Quota = fixed(20, 500);
/// What was over a rate limit: each says the same as the one before.
const OVER_RATE: Quota = fixed(20, 200);
const OVER_RATE_SHARE: Quota = fixed(1, 10);
/// What filter policies do not want, which may be most of a busy topic.
const FILTERED: Quota = fixed(200, 2000);
const FILTERED_SHARE: Quota = fixed(20, 500);
/// Copies of messages that were accepted: whoever has caught one, with its key, can send it again and again.
const DUPLICATES: Quota = fixed(200, 2000);
const DUPLICATES_SHARE: Quota = fixed(20, 500);
/// Workflows whose shares are remembered, and for how long: by then they are whole again.
const SHARES_MAX: u64 = 10_000;
const SHARES_KEPT_FOR: Duration = Duration::from_secs(60);

/// Whose request, or which kind of message, came to nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Showed no live key of the workflow.
    Stranger,
    /// Showed one.
    Caller,
    /// Showed one, too often.
    OverRate,
    /// Sent what a filter policy does not want.
    Filtered,
    /// Sent a copy.
    Duplicate,
}

/// Five budgets, so that strangers, floods, copies and unwanted messages cannot use up that of good callers. Of all but that of
/// strangers each workflow has a share, so that one workflow's cannot use up that of the others.
#[derive(Debug)]
pub struct Budget {
    strangers: Bucket,
    callers: Bucket,
    over_rate: Bucket,
    filtered: Bucket,
    duplicates: Bucket,
    shares: Cache<WorkflowName, Arc<Share>>,
}

#[derive(Debug)]
struct Share {
    callers: Bucket,
    over_rate: Bucket,
    filtered: Bucket,
    duplicates: Bucket,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            callers: Bucket::new(CALLERS_SHARE),
            over_rate: Bucket::new(OVER_RATE_SHARE),
            filtered: Bucket::new(FILTERED_SHARE),
            duplicates: Bucket::new(DUPLICATES_SHARE),
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            strangers: Bucket::new(STRANGERS),
            callers: Bucket::new(CALLERS),
            over_rate: Bucket::new(OVER_RATE),
            filtered: Bucket::new(FILTERED),
            duplicates: Bucket::new(DUPLICATES),
            shares: Cache::builder()
                .max_capacity(SHARES_MAX)
                .time_to_idle(SHARES_KEPT_FOR)
                .build(),
        }
    }
}

impl Budget {
    /// Whether one more refusal, copy or filtered message of the workflow may be recorded.
    pub(super) fn take(&self, standing: Standing, workflow: &WorkflowName) -> bool {
        let share = || self.shares.get_with_by_ref(workflow, Arc::default);
        match standing {
            Standing::Stranger => self.strangers.take().is_ok(),
            Standing::Caller => share().callers.take().is_ok() && self.callers.take().is_ok(),
            Standing::OverRate => share().over_rate.take().is_ok() && self.over_rate.take().is_ok(),
            Standing::Filtered => share().filtered.take().is_ok() && self.filtered.take().is_ok(),
            Standing::Duplicate => {
                share().duplicates.take().is_ok() && self.duplicates.take().is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workflow(id: &str) -> WorkflowName {
        format!("projects/default/workflows/{id}").parse().unwrap()
    }

    #[test]
    fn no_flood_uses_up_the_budget_of_others() {
        let budget = Budget::default();
        let (flooded, other) = (workflow("flooded"), workflow("other"));
        for (standing, least) in [
            (Standing::Stranger, 100),
            (Standing::Caller, 500),
            (Standing::OverRate, 10),
            (Standing::Filtered, 500),
            (Standing::Duplicate, 500),
        ] {
            let recorded = (0..100_000)
                .filter(|_| budget.take(standing, &flooded))
                .count();
            assert!(
                (least..50_000).contains(&recorded),
                "{standing:?}: {recorded}"
            );
        }
        for standing in [
            Standing::Caller,
            Standing::OverRate,
            Standing::Filtered,
            Standing::Duplicate,
        ] {
            assert!(budget.take(standing, &other), "{standing:?}");
        }
    }

    #[test]
    fn all_together_have_a_limit() {
        let budget = Budget::default();
        let recorded = (0..100_000)
            .filter(|n| budget.take(Standing::Caller, &workflow(&format!("w{}", n % 1000))))
            .count();
        assert!((2000..50_000).contains(&recorded), "{recorded}");
    }
}
