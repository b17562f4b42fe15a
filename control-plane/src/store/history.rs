//! Reading executions, events and subscriptions.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select,
};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, ProjectId, SubscriptionName, WorkflowId},
};

use super::{
    Child, Page, PageOf, Position, Store, children, entity, internal,
    page::keyset,
    retries,
    rows::{Attempt, Event, Execution, Signal, StepRun, Subscription},
    signals,
};

/// Which executions of a project. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Workflow.
    pub workflow: Option<String>,
    /// State, as it is stored.
    pub state: Option<String>,
    /// Topic.
    pub topic_arn: Option<String>,
    /// Message.
    pub message_id: Option<String>,
    /// Trigger, as it is stored.
    pub trigger: Option<String>,
    /// Id of the execution whose step started it.
    pub parent: Option<String>,
    /// API key that its caller had.
    pub api_key: Option<String>,
    /// When it was made.
    pub created: Times,
}

/// A range of times, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Not earlier.
    pub from: Option<i64>,
    /// Earlier than that.
    pub until: Option<i64>,
}

impl Times {
    pub(super) fn condition(self, column: impl sea_orm::ColumnTrait) -> Condition {
        Condition::all()
            .add_option(self.from.map(|from| column.gte(from)))
            .add_option(self.until.map(|until| column.lt(until)))
    }
}

impl ExecutionFilter {
    fn condition(&self) -> Condition {
        use entity::execution::Column;
        let Self {
            workflow,
            state,
            topic_arn,
            message_id,
            trigger,
            parent,
            api_key,
            created,
        } = self;
        [
            (Column::Workflow, workflow),
            (Column::State, state),
            (Column::TopicArn, topic_arn),
            (Column::MessageId, message_id),
            (Column::TriggerKind, trigger),
            (Column::Parent, parent),
            (Column::ApiKey, api_key),
        ]
        .into_iter()
        .fold(
            created.condition(Column::CreateTimeUs),
            |all, (column, value)| {
                all.add_option(value.as_ref().map(|value| column.eq(value.as_str())))
            },
        )
    }
}

/// An execution with its steps in the order in which they started, and their attempts.
#[derive(Clone, Debug)]
pub struct ExecutionDetail {
    /// The execution.
    pub execution: Execution,
    /// Its steps.
    pub steps: Vec<(StepRun, Vec<Attempt>)>,
    /// What it was told.
    pub signals: Vec<Signal>,
    /// The ids of executions that retry it.
    pub retried_by: Vec<String>,
    /// What its steps started.
    pub children: Vec<Child>,
}

pub(super) fn listing(
    project: &ProjectId,
    filter: &ExecutionFilter,
    page: &Page,
) -> Select<entity::execution::Entity> {
    use entity::execution::{Column, Entity};
    let query = Entity::find()
        .filter(Column::Project.eq(project.as_str()))
        .filter(filter.condition());
    keyset!(query, page, Column::CreateTimeUs, Column::Id)
}

pub(super) fn changed_since(
    project: &ProjectId,
    filter: &ExecutionFilter,
    (history, id): &Position,
    max: u64,
) -> Select<entity::execution::Entity> {
    use entity::execution::{Column, Entity};
    Entity::find()
        .filter(Column::Project.eq(project.as_str()))
        // Says where the index is to be entered; by the rest alone it would be read from its beginning.
        .filter(Column::History.gte(*history))
        .filter(
            Condition::any().add(Column::History.gt(*history)).add(
                Condition::all()
                    .add(Column::History.eq(*history))
                    .add(Column::Id.gt(id.as_str())),
            ),
        )
        .filter(filter.condition())
        .order_by_asc(Column::History)
        .order_by_asc(Column::Id)
        .limit(max)
}

/// By queries that must see one state: see [`Store::read`].
pub(super) async fn detail(
    db: &impl ConnectionTrait,
    name: &ExecutionName,
) -> Result<ExecutionDetail, Error> {
    use entity::{attempt, step_run};
    let (project, id) = (name.project.as_str(), name.execution.as_str());
    let execution = entity::execution::Entity::find_by_id((project.to_owned(), id.to_owned()))
        .one(db)
        .await
        .map_err(|e| internal(&e))?
        .ok_or_else(|| Error::not_found(name))?;
    let steps = step_run::Entity::find()
        .filter(step_run::Column::Project.eq(project))
        .filter(step_run::Column::Execution.eq(id))
        .order_by_asc(step_run::Column::Position)
        .all(db)
        .await
        .map_err(|e| internal(&e))?;
    let attempts = attempt::Entity::find()
        .filter(attempt::Column::Project.eq(project))
        .filter(attempt::Column::Execution.eq(id))
        .order_by_asc(attempt::Column::Number)
        .all(db)
        .await
        .map_err(|e| internal(&e))?;
    let mut by_step: HashMap<String, Vec<Attempt>> = HashMap::new();
    for attempt in attempts {
        by_step
            .entry(attempt.step.clone())
            .or_default()
            .push(attempt);
    }
    let steps = steps
        .into_iter()
        .map(|step| {
            let of_step = by_step.remove(&step.step).unwrap_or_default();
            (step, of_step)
        })
        .collect();
    Ok(ExecutionDetail {
        execution,
        steps,
        signals: signals::told(db, name).await?,
        retried_by: retries::retried_by(db, name).await?,
        children: children::of(db, name).await?,
    })
}

impl Store {
    /// An execution with its steps, as they were at one time.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn execution(&self, name: &ExecutionName) -> Result<ExecutionDetail, Error> {
        // A state that its steps contradict would be shown otherwise.
        self.read(async |db| detail(db, name).await).await
    }

    /// The executions of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn executions(
        &self,
        project: &ProjectId,
        filter: &ExecutionFilter,
        page: &Page,
    ) -> Result<PageOf<Execution>, Error> {
        page.read(&self.db, |page| listing(project, filter, page))
            .await
    }

    /// The executions of a project that changed after the change `seen`, which has a number and of those that changed
    /// together an execution's id; in the order of their changes, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn executions_changed_since(
        &self,
        project: &ProjectId,
        filter: &ExecutionFilter,
        seen: &Position,
        max: u64,
    ) -> Result<Vec<Execution>, Error> {
        changed_since(project, filter, seen, max)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// The event of an execution, and the certificate that verified it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn event(
        &self,
        name: &ExecutionName,
    ) -> Result<(Execution, Event, Option<String>), Error> {
        let execution = self.execution(name).await?.execution;
        let key = (name.project.to_string(), name.execution.to_string());
        let event = entity::event::Entity::find_by_id(key)
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?
            .ok_or_else(|| Error::not_found(format!("{name}/event")))?;
        let certificate = match &event.certificate_sha256 {
            Some(sha256) => entity::certificate::Entity::find_by_id(sha256.clone())
                .one(&self.db)
                .await
                .map_err(|e| internal(&e))?
                .map(|row| row.pem),
            None => None,
        };
        Ok((execution, event, certificate))
    }

    /// A subscription.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn subscription(&self, name: &SubscriptionName) -> Result<Subscription, Error> {
        let key = (
            name.project.to_string(),
            name.workflow.to_string(),
            name.subscription.to_string(),
        );
        entity::subscription::Entity::find_by_id(key)
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?
            .ok_or_else(|| Error::not_found(name))
    }

    /// The subscriptions of a workflow, or of all of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn subscriptions(
        &self,
        project: &ProjectId,
        workflow: Option<&WorkflowId>,
        page: &Page,
    ) -> Result<PageOf<Subscription>, Error> {
        use entity::subscription::{Column, Entity};
        let condition = Condition::all()
            .add(Column::Project.eq(project.as_str()))
            .add_option(workflow.map(|workflow| Column::Workflow.eq(workflow.as_str())));
        let query = Entity::find().filter(condition);
        let query = |page: &Page| keyset!(query.clone(), page, Column::CreateTimeUs, Column::Id);
        page.read(&self.db, query).await
    }
}
