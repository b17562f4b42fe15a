//! A machine's owner in a world without surprises but crashes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use signalbox_engine::{Decision, Effect, EffectKind, Machine, Outcome, Plan};
use signalbox_model::{execution::Fact, record::Accepted, signal::Signal, workflow::Workflow};

use super::{bearing, computing, telling::Tellers, workflows::Outcomes};

/// Decisions after which a machine that has not ended never will.
const DECISIONS_MAX: usize = 100_000;

/// What happens at a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Crash {
    /// Nothing.
    None,
    /// Before anything was done.
    Before,
    /// Within: after some of the facts, or when the attempt was performed and nothing else.
    Within(usize),
    /// When all was done.
    After,
}

impl Crash {
    pub(crate) fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            2 => Just(Self::None),
            1 => Just(Self::Before),
            2 => (0_usize..6).prop_map(Self::Within),
            1 => Just(Self::After),
        ]
    }
}

#[derive(Debug)]
pub(crate) struct Performed {
    pub(crate) times: u32,
    pub(crate) key: String,
}

/// When the world begins.
pub(crate) fn begin() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

pub(crate) struct Owner {
    workflow: Workflow,
    tellers: Tellers,
    /// What is durable, and the machine was not told, or was by a journal only.
    untold: Vec<Fact>,
    plan: Arc<Plan>,
    accepted: Accepted,
    outcomes: Outcomes,
    crashes: std::vec::IntoIter<Crash>,
    /// Which of several attempts ends first, as long as they last.
    choices: std::vec::IntoIter<u8>,
    now: Timestamp,
    /// At which decision its end is asked for.
    pub(crate) cancel_at: Option<usize>,
    /// How long each attempt takes.
    pub(crate) attempt_ms: i64,
    /// What is durable.
    pub(crate) journal: Vec<(Fact, Timestamp)>,
    /// By the run of a step and the attempt.
    pub(crate) performed: BTreeMap<(String, u32), Performed>,
}

impl Owner {
    pub(crate) fn new(
        workflow: &Workflow,
        plan: Arc<Plan>,
        accepted: Accepted,
        outcomes: Outcomes,
        crashes: Vec<Crash>,
        choices: Vec<u8>,
    ) -> Self {
        Self {
            workflow: workflow.clone(),
            tellers: Tellers::default(),
            untold: Vec::new(),
            plan,
            accepted,
            outcomes,
            crashes: crashes.into_iter(),
            choices: choices.into_iter(),
            now: begin(),
            cancel_at: None,
            attempt_ms: 7,
            journal: Vec::new(),
            performed: BTreeMap::new(),
        }
    }

    /// Runs to the end, through all crashes.
    pub(crate) fn run(&mut self) {
        let early = self.tellers.early(&self.workflow, &self.outcomes, self.now);
        self.receive(early);
        let mut machine = self.recover();
        let mut decision = machine.decide(self.now);
        for count in 0..DECISIONS_MAX {
            // An owner asks only when it has made durable what it was given.
            let is_free = !matches!(decision, Decision::Journal(_));
            if is_free && self.cancel_at.is_some_and(|at| at <= count) {
                self.cancel_at = None;
                decision = machine.cancel(self.now);
            }
            if let Some(next) = self.tell(&mut machine, &decision) {
                decision = next;
            }
            let crash = self.crashes.next().unwrap_or(Crash::None);
            if let Decision::Done(_) = decision {
                return;
            }
            let next = match crash {
                Crash::Before => None,
                Crash::None | Crash::Within(_) | Crash::After => {
                    self.act(&mut machine, decision, crash)
                }
            };
            decision = match next.filter(|_| !matches!(crash, Crash::After)) {
                Some(next) => next,
                None => {
                    machine = self.recover();
                    machine.decide(self.now)
                }
            };
        }
        panic!("the machine does not end");
    }

    /// Makes signals durable.
    fn receive(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            self.hear(Fact::SignalReceived(Box::new(signal)));
        }
    }

    fn hear(&mut self, fact: Fact) {
        self.journal.push((fact.clone(), self.now));
        self.untold.push(fact);
    }

    /// Tells what is to be told, the journal first and the machine now or later, but before time passes.
    fn tell(&mut self, machine: &mut Machine, decision: &Decision) -> Option<Decision> {
        let Decision::Await { attempts, wake_at } = decision else {
            return None;
        };
        let may_wait = !attempts.is_empty() && !self.is_near(*wake_at);
        let mut waits = || may_wait && self.choices.next().unwrap_or(1).is_multiple_of(2);
        if !waits() {
            let (journal, now) = (&self.journal, self.now);
            let due = self
                .tellers
                .due(&self.workflow, &self.outcomes, journal, now);
            self.receive(due);
            for end in bearing::ends(&self.outcomes, &self.journal) {
                self.hear(end);
            }
        }
        let mut waits = || may_wait && self.choices.next().unwrap_or(1).is_multiple_of(2);
        if self.untold.is_empty() || waits() {
            return None;
        }
        for fact in std::mem::take(&mut self.untold) {
            machine.hear(&fact);
            machine.hear(&fact);
        }
        Some(machine.decide(self.now))
    }

    fn is_near(&self, time: Timestamp) -> bool {
        time.duration_since(self.now).as_millis() <= i128::from(self.attempt_ms)
    }

    fn recover(&self) -> Machine {
        let mut machine = Machine::new(self.plan.clone(), &self.accepted);
        for (fact, at) in &self.journal {
            machine.replay(fact, *at).unwrap();
        }
        machine
    }

    /// Does what `decision` says; none when a crash cut it short.
    fn act(&mut self, machine: &mut Machine, decision: Decision, crash: Crash) -> Option<Decision> {
        match decision {
            Decision::Journal(facts) => {
                assert!(!facts.is_empty());
                let kept = match crash {
                    Crash::Within(kept) => kept.min(facts.len()),
                    _ => facts.len(),
                };
                let whole = kept == facts.len();
                let now = self.now;
                self.journal
                    .extend(facts.into_iter().take(kept).map(|fact| (fact, now)));
                whole.then(|| machine.decide(self.now))
            }
            Decision::Await { attempts, wake_at } => {
                assert!(wake_at > self.now, "a wait for what has passed");
                let all: BTreeSet<_> = attempts.iter().map(|a| (&a.step, a.attempt)).collect();
                assert_eq!(all.len(), attempts.len(), "an attempt twice");
                let choice = usize::from(self.choices.next().unwrap_or(0));
                let wakes =
                    self.is_near(wake_at) && choice % (attempts.len() + 1) == attempts.len();
                if attempts.is_empty() || wakes {
                    self.now = wake_at;
                    return Some(machine.decide(self.now));
                }
                self.perform(machine, &attempts[choice % attempts.len()], crash)
            }
            Decision::Done(_) => unreachable!("the caller has ended"),
        }
    }

    /// Performs an attempt to its end; none when a crash cut it short.
    fn perform(
        &mut self,
        machine: &mut Machine,
        effect: &Effect,
        crash: Crash,
    ) -> Option<Decision> {
        let attempt = (effect.step.to_string(), effect.attempt);
        let outcome = match &effect.kind {
            EffectKind::Script(_) => computing::outcome(&self.outcomes, effect),
            _ => self.outcomes.of(&attempt.0, attempt.1),
        };
        let performed = self.performed.entry(attempt).or_insert(Performed {
            times: 0,
            key: effect.idempotency_key.clone(),
        });
        performed.times += 1;
        assert_eq!(performed.key, effect.idempotency_key);
        if let EffectKind::RunWorkflow(_) = effect.kind {
            let outcome = bearing::start(&self.outcomes, effect);
            let next = machine.attempt_ended(&effect.step, effect.attempt, outcome, self.now);
            return (!matches!(crash, Crash::Within(_))).then_some(next);
        }
        let limit_ms = i64::try_from(effect.timeout.as_millis()).unwrap();
        self.pass(SignedDuration::from_millis(self.attempt_ms.min(limit_ms)));
        if matches!(crash, Crash::Within(_)) {
            return None;
        }
        let outcome = if self.attempt_ms > limit_ms {
            Outcome::Failed(signalbox_engine::AttemptFailure::retriable(
                signalbox_engine::codes::TIMEOUT,
                "slow",
            ))
        } else {
            outcome
        };
        Some(machine.attempt_ended(&effect.step, effect.attempt, outcome, self.now))
    }

    /// Each run of a step has one key, and no two have the same.
    pub(crate) fn check_keys(&self) {
        let mut run_of = BTreeMap::new();
        for ((run, _), performed) in &self.performed {
            let other = run_of.entry(&performed.key).or_insert(run);
            assert_eq!(*other, run, "two runs share a key");
        }
        let mut key_of = BTreeMap::new();
        for ((run, _), performed) in &self.performed {
            let other = key_of.entry(run).or_insert(&performed.key);
            assert_eq!(*other, &performed.key, "{run} has two keys");
        }
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now = self.now.checked_add(time).unwrap();
    }
}
