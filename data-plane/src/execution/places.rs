//! The places of executions that run, and who gets one.
//!
//! Who begins and who comes back from a short wait get one by the same rule: of those that are free all but the ones that are kept,
//! and of these, too, where few of the workflow have one. Those who wait for a place stand in a queue of their workflow; the queues
//! take turns, and whoever claims what is in the spool is one of them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use signalbox_model::ids::WorkflowName;
use tokio::sync::oneshot;

/// Of all places one in so many is kept for workflows that have few: one whose steps hang does not hold all of them.
const KEPT_SHARE: usize = 8;

/// Places for so many executions at once.
#[derive(Debug)]
pub(super) struct Places {
    kept: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// How many each workflow has; none of one that has none.
    held: HashMap<WorkflowName, usize>,
    /// Those who wait for one; none is empty.
    queues: HashMap<Who, VecDeque<oneshot::Sender<Permit>>>,
    /// Who has a queue, each once, the next first.
    turns: VecDeque<Who>,
}

/// Who waits for a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Who {
    /// Whoever claims: for which workflow is known then.
    Claim,
    /// Executions of this workflow.
    Of(WorkflowName),
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    /// None of one that was taken back.
    places: Option<Arc<Places>>,
    workflow: Option<WorkflowName>,
}

impl Places {
    pub(super) fn new(count: usize) -> Arc<Self> {
        let state = State {
            free: count,
            ..State::default()
        };
        Arc::new(Self {
            kept: count / KEPT_SHARE,
            state: Mutex::new(state),
        })
    }

    /// A place for what is claimed then, kept or not.
    pub(super) async fn for_claim(self: &Arc<Self>) -> Permit {
        self.next(Who::Claim).await
    }

    /// The same, if there is one that nobody waits for who may have it.
    pub(super) fn for_claim_now(self: &Arc<Self>) -> Option<Permit> {
        let mut state = self.state();
        state.free = state.free.checked_sub(1)?;
        Some(self.permit(None))
    }

    /// A place for an execution of `workflow` that comes back.
    pub(super) async fn for_one_of(self: &Arc<Self>, workflow: &WorkflowName) -> Permit {
        self.next(Who::Of(workflow.clone())).await
    }

    /// Places that are free.
    pub(super) fn free(&self) -> usize {
        self.state().free
    }

    /// How many places `workflow` may have of `free` ones.
    pub(super) fn room(&self, workflow: &WorkflowName, free: usize) -> usize {
        self.state().room(workflow, free, self.kept)
    }

    async fn next(self: &Arc<Self>, who: Who) -> Permit {
        loop {
            let (ready, place) = oneshot::channel();
            self.queue(&who, ready);
            // Nobody is taken out of a queue without one.
            if let Ok(permit) = place.await {
                return permit;
            }
        }
    }

    fn queue(self: &Arc<Self>, who: &Who, ready: oneshot::Sender<Permit>) {
        let mut state = self.state();
        match state.queues.get_mut(who) {
            Some(queue) => queue.push_back(ready),
            None => {
                state.queues.insert(who.clone(), [ready].into());
                state.turns.push_back(who.clone());
            }
        }
        self.give(&mut state);
    }

    /// Gives what is free to those whose turn it is and who may have it.
    fn give(self: &Arc<Self>, state: &mut State) {
        while let Some((who, ready)) = state.next(self.kept) {
            let workflow = match who {
                Who::Claim => None,
                Who::Of(workflow) => Some(workflow),
            };
            state.free -= 1;
            state.hold(workflow.as_ref());
            if let Err(mut unwanted) = ready.send(self.permit(workflow)) {
                // It is not to come back by itself, which waits for what is held here.
                unwanted.places = None;
                state.free += 1;
                state.leave(unwanted.workflow.as_ref());
            }
        }
    }

    fn permit(self: &Arc<Self>, workflow: Option<WorkflowName>) -> Permit {
        Permit {
            places: Some(self.clone()),
            workflow,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// All of `free` places but those that are `kept`; of those, too, for one that has few.
    fn room(&self, workflow: &WorkflowName, free: usize, kept: usize) -> usize {
        let held = self.held.get(workflow).copied().unwrap_or_default();
        let few = kept.div_ceil(2).saturating_sub(held);
        free.saturating_sub(kept).max(few.min(free))
    }

    /// Who gets the next place.
    fn next(&mut self, kept: usize) -> Option<(Who, oneshot::Sender<Permit>)> {
        let may = |who: &Who| match who {
            Who::Claim => self.free > 0,
            Who::Of(workflow) => self.room(workflow, self.free, kept) > 0,
        };
        let at = self.turns.iter().position(may)?;
        let who = self.turns.remove(at)?;
        let queue = self.queues.get_mut(&who)?;
        let ready = queue.pop_front()?;
        match queue.is_empty() {
            true => drop(self.queues.remove(&who)),
            false => self.turns.push_back(who.clone()),
        }
        Some((who, ready))
    }

    fn hold(&mut self, workflow: Option<&WorkflowName>) {
        if let Some(workflow) = workflow {
            *self.held.entry(workflow.clone()).or_default() += 1;
        }
    }

    fn leave(&mut self, workflow: Option<&WorkflowName>) {
        if let Some(workflow) = workflow
            && let Some(held) = self.held.get_mut(workflow)
        {
            *held -= 1;
            if *held == 0 {
                self.held.remove(workflow);
            }
        }
    }
}

impl Permit {
    /// Says for which workflow it was claimed.
    pub(super) fn claimed_for(&mut self, workflow: &WorkflowName) {
        if let Some(places) = &self.places {
            places.state().hold(Some(workflow));
            self.workflow = Some(workflow.clone());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(places) = self.places.take() {
            let mut state = places.state();
            state.free += 1;
            state.leave(self.workflow.as_ref());
            places.give(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use futures::FutureExt as _;

    use super::*;

    fn workflow(id: &str) -> WorkflowName {
        format!("projects/p/workflows/{id}").parse().unwrap()
    }

    /// All that `one` gets at once.
    fn all(places: &Arc<Places>, one: &WorkflowName) -> Vec<Permit> {
        std::iter::from_fn(|| places.for_one_of(one).now_or_never()).collect()
    }

    #[test]
    fn none_holds_what_is_kept_and_each_place_that_is_kept_is_for_some_workflow() {
        for count in 1..=64 {
            let places = Places::new(count);
            let kept = count / KEPT_SHARE;
            let hung = all(&places, &workflow("hung"));
            assert_eq!(hung.len(), count - kept);
            let other = all(&places, &workflow("other"));
            assert_eq!(other.len(), kept.div_ceil(2));
            let third = all(&places, &workflow("third"));
            assert_eq!(third.len(), kept - other.len());
            assert_eq!(places.free(), 0);
            drop((hung, other, third));
            assert_eq!(places.free(), count);
            let state = places.state();
            assert!(state.held.is_empty(), "{state:?}");
            assert_eq!(state.queues.len(), state.turns.len());
        }
    }

    #[test]
    fn those_who_wait_take_turns_by_workflow_and_in_order_within_one() {
        let places = Places::new(1);
        let first = places.for_claim_now().unwrap();
        assert!(places.for_claim_now().is_none());
        let (a, b) = (workflow("a"), workflow("b"));
        let mut of_a = Box::pin(places.for_one_of(&a));
        let mut gone = Box::pin(places.for_one_of(&a));
        let mut of_b = Box::pin(places.for_one_of(&b));
        let mut other_of_b = Box::pin(places.for_one_of(&b));
        let mut claim = Box::pin(places.for_claim());
        for waiting in [&mut of_a, &mut gone, &mut of_b, &mut other_of_b] {
            assert!(waiting.now_or_never().is_none());
        }
        assert!((&mut claim).now_or_never().is_none());
        // It takes none when its turn comes.
        drop(gone);
        drop(first);
        assert!((&mut of_b).now_or_never().is_none());
        drop((&mut of_a).now_or_never().unwrap());
        assert!((&mut other_of_b).now_or_never().is_none());
        assert!((&mut claim).now_or_never().is_none());
        drop((&mut of_b).now_or_never().unwrap());
        assert!((&mut other_of_b).now_or_never().is_none());
        drop((&mut claim).now_or_never().unwrap());
        drop((&mut other_of_b).now_or_never().unwrap());
        assert_eq!(places.free(), 1);
    }

    #[test]
    fn a_place_that_was_given_to_who_went_away_is_free() {
        let places = Places::new(1);
        let first = places.for_claim_now().unwrap();
        let mut waiting = Box::pin(places.for_claim());
        assert!((&mut waiting).now_or_never().is_none());
        drop(first);
        assert_eq!(places.free(), 0);
        drop(waiting);
        assert_eq!(places.free(), 1);
    }
}
