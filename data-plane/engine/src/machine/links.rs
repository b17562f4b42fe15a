//! Links to approvals: steps that send them, and facts that must not hold them.

use std::{borrow::Cow, collections::BTreeMap, sync::OnceLock};

use signalbox_model::{
    ids::StepInstance,
    link::{self, ApprovalUrls, Link},
    secret::Secret,
    signal::ApprovalDecision,
};

use super::*;

/// What makes the tokens of links. It needs nobody else for that.
pub trait LinkMaker: fmt::Debug + Send + Sync {
    /// Where people reach whoever reads links, without a slash at its end; none: nobody has said.
    fn public_url(&self) -> Option<Arc<str>>;

    /// The token that says `link`, the same each time.
    ///
    /// # Errors
    /// Why there is none.
    fn sign(&self, link: &Link) -> Result<String, Failure>;
}

/// The links of an execution.
#[derive(Default)]
pub(super) struct Links {
    maker: Option<Arc<dyn LinkMaker>>,
    /// Those that were made, by the runs of their approvals, which have not ended, and of the steps that read them. What decides
    /// nothing any more need not be searched for.
    out: BTreeMap<(StepInstance, StepInstance), Made>,
}

/// The tokens that approve and reject; those that there are, made when they are first searched for.
type Made = OnceLock<Vec<Secret>>;

/// What the links of one execution are made with.
#[derive(Clone, Copy)]
pub(super) struct Signing<'a> {
    maker: Option<&'a dyn LinkMaker>,
    plan: &'a Plan,
    execution: &'a ExecutionName,
    started_at: Timestamp,
}

impl Machine {
    /// Says what makes the links that steps send. Before its facts are replayed; until then it has none.
    pub fn set_links(&mut self, maker: Arc<dyn LinkMaker>) {
        self.links.maker = Some(maker);
    }

    /// `fact` without what no fact may hold.
    pub(super) fn shown(&self, fact: Fact) -> Fact {
        let hidden = self.hidden();
        if hidden.is_empty() {
            return fact;
        }
        secrets::masked(fact, &hidden)
    }

    /// What no fact may hold.
    pub(super) fn hidden(&self) -> Cow<'_, Masks> {
        match &self.state {
            State::Running(run) if !self.links.out.is_empty() => {
                let mut all = self.masks.clone();
                let signing = self
                    .links
                    .signing(&self.plan, &self.execution, run.started_at);
                for ((approval, by), made) in &self.links.out {
                    let made = made.get_or_init(|| signing.secrets(approval, by));
                    made.iter().for_each(|secret| all.add(secret));
                }
                Cow::Owned(all)
            }
            State::Queued { .. } | State::Running(_) | State::Ended(_) => {
                Cow::Borrowed(&self.masks)
            }
        }
    }
}

impl Links {
    pub(super) fn signing<'a>(
        &'a self,
        plan: &'a Plan,
        execution: &'a ExecutionName,
        started_at: Timestamp,
    ) -> Signing<'a> {
        Signing {
            maker: self.maker.as_deref(),
            plan,
            execution,
            started_at,
        }
    }

    /// Takes in `fact`, by which `frame`, that of the whole, has come where it is.
    pub(super) fn fold(&mut self, plan: &Plan, frame: &Frame, fact: &Fact) {
        match fact {
            Fact::StepStarted { step, .. } => {
                let approvals = plan.approvals_of(&step.step);
                if approvals.is_empty() {
                    return;
                }
                // Iterations that broke off before their approvals.
                self.out
                    .retain(|(approval, _), _| frame.around(plan, approval).is_some());
                for approval in approvals {
                    let key = (approval.run(step), step.clone());
                    self.out.insert(key, Made::new());
                }
            }
            Fact::StepFinished { step, .. } | Fact::StepKept { step, .. } => {
                self.out.retain(|(approval, _), _| approval != step);
            }
            Fact::Ending { .. } => self.out.clear(),
            _ => {}
        }
    }
}

impl Signing<'_> {
    /// What the step whose run is `by` reads of `approvals`.
    ///
    /// # Errors
    /// Why there are no links.
    pub(super) fn urls(
        self,
        approvals: &[Approval],
        by: &StepInstance,
    ) -> Result<Vec<(StepId, ApprovalUrls)>, Failure> {
        let public_url = self.maker.and_then(|maker| maker.public_url());
        let public_url = public_url.ok_or_else(|| {
            Failure::new(
                codes::LINKS_OFF,
                "links would lead nowhere: the control plane has not told this node where people reach it; set its --public-url",
            )
        })?;
        let urls = approvals.iter().map(|approval| {
            let run = approval.run(by);
            let url = |decision| {
                let token = self.token(&run, by, decision)?;
                Ok(link::url(&public_url, &token))
            };
            let urls = ApprovalUrls {
                approve: url(ApprovalDecision::Approved)?,
                reject: url(ApprovalDecision::Rejected)?,
            };
            Ok((approval.step.clone(), urls))
        });
        urls.collect()
    }

    /// What is searched for so that no fact holds a link to `approval` that the run `by` may have sent.
    fn secrets(self, approval: &StepInstance, by: &StepInstance) -> Vec<Secret> {
        let decisions = [ApprovalDecision::Approved, ApprovalDecision::Rejected];
        // Where none can be made, none was sent.
        let tokens = decisions.map(|decision| self.token(approval, by, decision).ok());
        let tokens = tokens.into_iter().flatten();
        tokens
            .map(|token| Secret::new(token.into_bytes()))
            .collect()
    }

    fn token(
        self,
        approval: &StepInstance,
        by: &StepInstance,
        decision: ApprovalDecision,
    ) -> Result<String, Failure> {
        let maker = self
            .maker
            .ok_or_else(|| Failure::new(codes::INTERNAL, "there is nothing that makes links"))?;
        let id = identity::link_id(self.execution, approval, decision);
        let times = (self.started_at.as_second(), self.ends_at().as_second());
        let of = (self.execution, approval);
        maker.sign(&Link::new(&by.to_string(), id, times, of, decision))
    }

    /// When the execution has ended for sure.
    fn ends_at(self) -> Timestamp {
        let finally = self
            .plan
            .finally()
            .map_or(Duration::ZERO, |finally| finally.timeout);
        let longest = self.plan.timeout().saturating_add(finally);
        later(self.started_at, longest.min(limits::LINK_TTL_MAX))
    }
}
