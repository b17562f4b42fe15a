//! What executions are told, until the nodes report that they have it.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    SqlErr,
    sea_query::{Expr, ExprTrait as _, Query, SelectStatement},
};
use signalbox_model::{
    error::Error,
    execution::JsonText,
    ids::{ExecutionName, NodeId, SignalId, SignalName, StepInstance},
    limits,
    signal::{ApprovalDecision, Signal, SignalKind},
};

use super::{
    Actor, Awaited, Store, Tx,
    awaited::WAIT_THEMSELVES,
    entity, internal,
    rows::{Execution, Signal as Row, StepRun},
    usage::Weight as _,
};

const APPROVAL: &str = "approval";
const WAITING: &str = "WAITING";
/// As the index has it: with a parameter in it, no database would use that.
pub(super) const UNSETTLED: &str = "signals.settled = false";

/// Something to tell an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSignal {
    /// Its id, which a repeated request has too.
    pub id: SignalId,
    /// To whom, and what.
    pub target: Target,
    /// W3C traceparent of the call.
    pub traceparent: Option<String>,
}

/// Whom to tell what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Whoever waits for a signal.
    Named(SignalName, JsonText),
    /// An approval.
    Approval {
        /// Which; the one that waits, when it is not said.
        step: Option<StepInstance>,
        /// What was decided.
        decision: ApprovalDecision,
        /// Why, for people.
        comment: String,
    },
}

/// A decision is not taken so shortly before its deadline when the node is away that must hear of it by then.
const NEAR_DEADLINE: SignedDuration = SignedDuration::from_hours(1);

fn refused(name: &ExecutionName, reason: &'static str, message: impl Into<String>) -> Error {
    Error::Precondition {
        subject: name.to_string(),
        reason,
        message: message.into(),
    }
}

impl Tx {
    /// Notes what an execution is to be told; gives the row, that of the first time for a copy, and whether it is new.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when the execution has ended, or no approval waits for a decision; `Exhausted`; `Invalid`
    /// when the id was another's, or several approvals wait.
    pub async fn signal(
        &mut self,
        actor: &Actor,
        name: &ExecutionName,
        new: NewSignal,
    ) -> Result<(Row, bool), Error> {
        let key = (name.project.to_string(), name.execution.to_string());
        let (project, of) = key.clone();
        let before = entity::signal::Entity::find_by_id((key.0, key.1, new.id.to_string()))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if let Some(row) = before {
            return if tells(&row, &new.target) {
                Ok((row, false))
            } else {
                Err(Error::invalid(
                    "request_id",
                    "was used to tell the execution something else",
                ))
            };
        }
        let execution = self.unended(name).await?;
        self.signals_are_bounded(name).await?;
        let mut row = Row {
            project,
            execution: of,
            id: new.id.to_string(),
            name: None,
            payload_json: None,
            step: None,
            decision: None,
            comment: None,
            actor: actor.subject.clone(),
            create_time_us: self.now_us(),
            take_time_us: None,
            traceparent: new.traceparent,
            settled: false,
        };
        match new.target {
            Target::Named(signal, payload) => {
                row.name = Some(signal.to_string());
                row.payload_json = Some(payload.into());
            }
            Target::Approval {
                step,
                decision,
                comment,
            } => {
                let run = self.undecided(name, step.as_ref()).await?;
                self.comes_in_time(&execution, &run).await?;
                row.step = Some(run.step);
                row.decision = Some(decision.as_str().to_owned());
                row.comment = Some(comment);
            }
        }
        Ok((self.insert_signal(name, row).await?, true))
    }

    /// What an approval of an execution asks, when it may be decided: `step`, or the only one that waits.
    ///
    /// # Errors
    /// As [`Tx::signal`].
    pub async fn approval(
        &mut self,
        name: &ExecutionName,
        step: Option<&StepInstance>,
    ) -> Result<Awaited, Error> {
        self.unended(name).await?;
        let run = self.undecided(name, step).await?;
        Awaited::of(&run).ok_or_else(|| {
            let message = format!("step {:?} does not say what it asks", run.step);
            refused(name, "NOT_WAITING", message)
        })
    }

    async fn unended(&self, name: &ExecutionName) -> Result<Execution, Error> {
        let execution = self
            .find_execution(name)
            .await?
            .ok_or_else(|| Error::not_found(name))?;
        match execution.end_time_us {
            None => Ok(execution),
            Some(_) => {
                let message = format!("the execution has ended as {}", execution.state);
                Err(refused(name, "EXECUTION_ENDED", message))
            }
        }
    }

    async fn insert_signal(&mut self, name: &ExecutionName, row: Row) -> Result<Row, Error> {
        self.wake_nodes();
        self.settle_ended().await?;
        self.grows(&row.project, row.weight());
        let active = row.into_active_model().reset_all();
        active
            .insert(&self.inner)
            .await
            .map_err(|error| match error.sql_err() {
                // Another replica was quicker.
                Some(SqlErr::UniqueConstraintViolation(_)) => {
                    refused(name, "ALREADY_DECIDED", "somebody has just decided it")
                }
                _ => internal(&error),
            })
    }

    async fn signals_are_bounded(&self, name: &ExecutionName) -> Result<(), Error> {
        let count = of_execution(name)
            .count(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if count >= limits::EXECUTION_SIGNALS_MAX {
            return Err(Error::Exhausted {
                message: format!(
                    "{name} was told {count} signals; at most {} are taken",
                    limits::EXECUTION_SIGNALS_MAX
                ),
            });
        }
        Ok(())
    }

    /// What ended untold is told nobody any more.
    async fn settle_ended(&self) -> Result<(), Error> {
        use entity::{execution, signal};
        let ended = executions_of_signals()
            .and_where(Expr::col((execution::Entity, execution::Column::EndTimeUs)).is_not_null())
            .take();
        signal::Entity::update_many()
            .col_expr(signal::Column::Settled, Expr::value(true))
            .filter(Expr::cust(UNSETTLED))
            .filter(Expr::exists(ended))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// The run of an approval that waits for a decision: `step`, or the only one.
    async fn undecided(
        &self,
        name: &ExecutionName,
        step: Option<&StepInstance>,
    ) -> Result<StepRun, Error> {
        let run = match step {
            Some(step) => self.approval_run(name, step).await?,
            None => self.only_approval(name).await?,
        };
        let decided = of_execution(name)
            .filter(entity::signal::Column::Step.eq(&run.step))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if let Some(Row {
            actor,
            decision: Some(decision),
            create_time_us,
            ..
        }) = decided
        {
            let at = Timestamp::from_microsecond(create_time_us).unwrap_or_default();
            let message = format!("{actor} decided step {:?}: {decision}, at {at}", run.step);
            return Err(refused(name, "ALREADY_DECIDED", message));
        }
        if run.end_time_us.is_some() {
            let message = format!("step {:?} has ended as {}", run.step, run.state);
            return Err(refused(name, "NOT_WAITING", message));
        }
        let deadline = Awaited::of(&run).and_then(|awaited| awaited.deadline);
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            let message = format!("the time of step {:?} is over", run.step);
            return Err(refused(name, "APPROVAL_EXPIRED", message));
        }
        Ok(run)
    }

    /// Refuses a decision that its node might hear of too late: it is away, and counts the time by itself.
    async fn comes_in_time(&self, execution: &Execution, run: &StepRun) -> Result<(), Error> {
        let deadline = Awaited::of(run).and_then(|awaited| awaited.deadline);
        let is_near = deadline.is_some_and(|deadline| {
            let left = deadline.duration_since(self.now);
            left < NEAR_DEADLINE
        });
        match &execution.node {
            Some(node) if is_near && !self.is_connected(node).await? => Err(Error::Unavailable {
                message: format!(
                    "the node that runs it is away, and would perhaps hear of it after the time of step {:?} is over: try again",
                    run.step
                ),
            }),
            _ => Ok(()),
        }
    }

    async fn approval_run(
        &self,
        name: &ExecutionName,
        step: &StepInstance,
    ) -> Result<StepRun, Error> {
        let key = (
            name.project.to_string(),
            name.execution.to_string(),
            step.to_string(),
        );
        let run = entity::step_run::Entity::find_by_id(key)
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        match run {
            Some(run) if run.kind == APPROVAL => Ok(run),
            Some(run) => Err(Error::invalid(
                "decision.step",
                format!("{step:?} is a step of kind {:?}, no approval", run.kind),
            )),
            None => {
                // Whoever holds a link that a step before it sent may be quicker than the execution.
                let message = format!(
                    "no step {:?} has begun yet; come back in a moment",
                    step.to_string()
                );
                Err(refused(name, "NOT_WAITING", message))
            }
        }
    }

    async fn only_approval(&self, name: &ExecutionName) -> Result<StepRun, Error> {
        use entity::step_run::Column;
        let mut waiting = waiting_runs()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Kind.eq(APPROVAL))
            .order_by_asc(Column::Position)
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        match (waiting.pop(), waiting.as_slice()) {
            (None, _) => Err(refused(
                name,
                "NOT_WAITING",
                "no approval of the execution waits",
            )),
            (Some(run), []) => Ok(run),
            (Some(last), others) => {
                let runs: Vec<_> = others.iter().map(|run| run.step.as_str()).collect();
                let text = format!(
                    "is missing, and several approvals wait: {}, {}",
                    runs.join(", "),
                    last.step
                );
                Err(Error::invalid("decision.step", text))
            }
        }
    }

    /// Notes that the node has a signal.
    pub(super) async fn signal_taken(
        &mut self,
        name: &ExecutionName,
        signal: &SignalId,
        time_us: i64,
    ) -> Result<(), Error> {
        use entity::signal::{Column, Entity};
        let taken = Entity::update_many()
            .col_expr(Column::TakeTimeUs, Expr::value(Some(time_us)))
            .col_expr(Column::Settled, Expr::value(true))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Id.eq(signal.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if taken.rows_affected == 0 {
            // The database is an older copy than what was told by it.
            tracing::warn!(execution = %name, %signal, "a signal that is not known");
        }
        Ok(())
    }

    /// An execution that begins anew at its node is told everything anew.
    pub(super) async fn tell_again(&self, name: &ExecutionName) -> Result<(), Error> {
        use entity::signal::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::TakeTimeUs, Expr::value(Option::<i64>::None))
            .col_expr(Column::Settled, Expr::value(false))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

impl Store {
    /// The encoded spec that an execution runs; none where the execution or its version is not kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn source_of(&self, name: &ExecutionName) -> Result<Option<Vec<u8>>, Error> {
        use entity::{execution, workflow_version};
        let (project, id) = (name.project.to_string(), name.execution.to_string());
        let ran: Option<(String, i64)> = execution::Entity::find_by_id((project.clone(), id))
            .select_only()
            .column(execution::Column::Workflow)
            .column(execution::Column::Version)
            .into_tuple()
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        let Some((workflow, version)) = ran else {
            return Ok(None);
        };
        let version = workflow_version::Entity::find_by_id((project, workflow, version))
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(version.map(|version| version.source))
    }

    /// What the executions of a node are to be told, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signals_to_tell(&self, node: &NodeId, max: u64) -> Result<Vec<Row>, Error> {
        use entity::{
            execution,
            signal::{Column, Entity},
        };
        let of_node = executions_of_signals()
            .and_where(Expr::col((execution::Entity, execution::Column::Node)).eq(node.as_str()))
            .and_where(Expr::col((execution::Entity, execution::Column::EndTimeUs)).is_null())
            .take();
        Entity::find()
            .filter(Expr::cust(UNSETTLED))
            .filter(Expr::exists(of_node))
            .order_by_asc(Column::CreateTimeUs)
            .order_by_asc(Column::Id)
            .limit(max)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// The steps of executions of one project that wait, by the executions' ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waiting(
        &self,
        executions: &[Execution],
    ) -> Result<HashMap<String, Vec<StepRun>>, Error> {
        use entity::step_run::Column;
        let waiting = executions.iter().filter(|row| row.state == WAITING);
        let mut of_project: HashMap<&str, Vec<&str>> = HashMap::new();
        for row in waiting {
            of_project.entry(&row.project).or_default().push(&row.id);
        }
        let mut runs: HashMap<String, Vec<StepRun>> = HashMap::new();
        for (project, ids) in of_project {
            let found = waiting_runs()
                .filter(Column::Project.eq(project))
                .filter(Column::Execution.is_in(ids))
                .order_by_asc(Column::Position)
                .all(&self.db)
                .await
                .map_err(|e| internal(&e))?;
            for run in found {
                runs.entry(run.execution.clone()).or_default().push(run);
            }
        }
        Ok(runs)
    }
}

/// What an execution was told, in order.
///
/// # Errors
/// When the database fails.
pub(super) async fn told(
    db: &impl ConnectionTrait,
    name: &ExecutionName,
) -> Result<Vec<Row>, Error> {
    use entity::signal::Column;
    of_execution(name)
        .order_by_asc(Column::CreateTimeUs)
        .order_by_asc(Column::Id)
        .all(db)
        .await
        .map_err(|e| internal(&e))
}

fn of_execution(name: &ExecutionName) -> sea_orm::Select<entity::signal::Entity> {
    use entity::signal::{Column, Entity};
    Entity::find()
        .filter(Column::Project.eq(name.project.as_str()))
        .filter(Column::Execution.eq(name.execution.as_str()))
}

fn waiting_runs() -> sea_orm::Select<entity::step_run::Entity> {
    use entity::step_run::{Column, Entity};
    Entity::find().filter(
        Condition::all()
            .add(Column::EndTimeUs.is_null())
            .add(Column::Kind.is_in(WAIT_THEMSELVES)),
    )
}

/// The execution of a signal.
fn executions_of_signals() -> SelectStatement {
    use entity::{execution, signal};
    let same = |signal: signal::Column, execution: execution::Column| {
        Expr::col((execution::Entity, execution)).equals((signal::Entity, signal))
    };
    Query::select()
        .expr(Expr::val(1))
        .from(execution::Entity)
        .and_where(same(signal::Column::Project, execution::Column::Project))
        .and_where(same(signal::Column::Execution, execution::Column::Id))
        .take()
}

/// Whether a row tells what `target` would.
fn tells(row: &Row, target: &Target) -> bool {
    match target {
        Target::Named(name, payload) => {
            row.name.as_deref() == Some(name.as_str())
                && row.payload_json.as_deref() == Some(payload.as_str())
        }
        Target::Approval {
            step,
            decision,
            comment,
        } => {
            let is_step = |step: &StepInstance| row.step.as_ref() == Some(&step.to_string());
            row.decision.as_deref() == Some(decision.as_str())
                && row.comment.as_deref() == Some(comment.as_str())
                && step.as_ref().is_none_or(is_step)
        }
    }
}

/// What a row tells.
///
/// # Errors
/// It is none that was written here.
pub fn read_signal(row: &Row) -> Result<Signal, Error> {
    let broken = || {
        tracing::error!(
            execution = row.execution,
            id = row.id,
            "a stored signal cannot be read"
        );
        Error::Internal {
            message: "a stored signal cannot be read".to_owned(),
        }
    };
    let kind = || {
        if let (Some(name), Some(payload)) = (&row.name, &row.payload_json) {
            return Some(SignalKind::Named {
                name: name.parse().ok()?,
                payload: JsonText::try_from(payload.clone()).ok()?,
            });
        }
        Some(SignalKind::Decision {
            step: row.step.as_ref()?.parse().ok()?,
            decision: ApprovalDecision::from_text(row.decision.as_ref()?)?,
            comment: row.comment.clone().unwrap_or_default(),
        })
    };
    Ok(Signal {
        id: row.id.parse().map_err(|_| broken())?,
        kind: kind().ok_or_else(broken)?,
        by: row.actor.clone(),
        at: Timestamp::from_microsecond(row.create_time_us).map_err(|_| broken())?,
    })
}
