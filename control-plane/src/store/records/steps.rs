//! The rows of steps and attempts.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _,
    QuerySelect as _, sea_query::Expr,
};
use signalbox_model::{
    error::Error,
    execution::{ExecutionState, Failure, StepState},
    ids::ExecutionName,
};

use super::{Tx, entity, internal};
use crate::store::rows::Execution;

/// Kinds of steps that are open while what stands in them is: they neither run nor wait themselves.
const AROUND_OTHERS: [&str; 2] = ["parallel", "forEach"];

/// Whether a step of this kind runs itself.
pub(super) fn runs_itself(kind: &str) -> bool {
    !AROUND_OTHERS.contains(&kind)
}

impl Tx {
    /// Shows the execution as running, since one of its steps does.
    pub(super) async fn show_running(&mut self, row: Execution) -> Result<(), Error> {
        self.show(row, ExecutionState::Running).await
    }

    /// Shows the execution as waiting when some of its steps wait and none of them runs.
    pub(super) async fn show_activity(
        &mut self,
        name: &ExecutionName,
        row: Execution,
    ) -> Result<(), Error> {
        use entity::step_run::{Column, Entity};
        let states: Vec<String> = Entity::find()
            .select_only()
            .column(Column::State)
            .distinct()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::EndTimeUs.is_null())
            .filter(Column::Kind.is_not_in(AROUND_OTHERS))
            .into_tuple()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let has = |state: StepState| states.iter().any(|text| text == state.as_str());
        let state = if has(StepState::Waiting) && !has(StepState::Running) {
            ExecutionState::Waiting
        } else {
            ExecutionState::Running
        };
        self.show(row, state).await
    }

    async fn show(&mut self, row: Execution, state: ExecutionState) -> Result<(), Error> {
        if row.state == state.as_str() {
            return Ok(());
        }
        self.update_execution(row, state, |_| {}).await
    }

    pub(super) async fn insert_step(
        &self,
        name: &ExecutionName,
        step: NewStep<'_>,
        time_us: i64,
    ) -> Result<(), Error> {
        use entity::step_run::ActiveModel;
        let row = ActiveModel {
            project: Set(name.project.to_string()),
            execution: Set(name.execution.to_string()),
            step: Set(step.step.to_owned()),
            position: Set(i64::try_from(step.sequence).unwrap_or(i64::MAX)),
            kind: Set(step.kind.to_owned()),
            state: Set(step.state.as_str().to_owned()),
            input_json: Set(step.input_json.to_owned()),
            output_json: Set(None),
            error_code: Set(None),
            error_message: Set(None),
            start_time_us: Set(time_us),
            end_time_us: Set(step.end_time_us),
            is_kept: Set(step.is_kept),
        };
        row.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    pub(super) async fn step_state(
        &self,
        name: &ExecutionName,
        step: &str,
        state: StepState,
    ) -> Result<(), Error> {
        use entity::step_run::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::State, Expr::value(state.as_str()))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Step.eq(step))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    pub(super) async fn step_finished(
        &self,
        name: &ExecutionName,
        step: &str,
        StepEnd {
            state,
            output,
            error,
        }: StepEnd<'_>,
        (sequence, time_us): (u64, i64),
    ) -> Result<(), Error> {
        use entity::step_run::{Column, Entity};
        let updated = Entity::update_many()
            .col_expr(Column::State, Expr::value(state.as_str()))
            .col_expr(Column::OutputJson, Expr::value(output.map(str::to_owned)))
            .col_expr(
                Column::ErrorCode,
                Expr::value(error.map(|error| error.code.clone())),
            )
            .col_expr(
                Column::ErrorMessage,
                Expr::value(error.map(|error| error.message.clone())),
            )
            .col_expr(Column::EndTimeUs, Expr::value(time_us))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Step.eq(step))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if updated.rows_affected == 0 {
            // A skipped step never started.
            let skipped = NewStep {
                step,
                sequence,
                kind: "",
                state,
                input_json: "",
                end_time_us: Some(time_us),
                is_kept: false,
            };
            self.insert_step(name, skipped, time_us).await?;
        }
        Ok(())
    }

    pub(super) async fn attempt_started(
        &self,
        name: &ExecutionName,
        step: &str,
        number: u32,
        repeated: bool,
        time_us: i64,
    ) -> Result<(), Error> {
        use entity::attempt::{ActiveModel, Column, Entity};
        if repeated {
            Entity::update_many()
                .col_expr(Column::Repeated, Expr::value(true))
                .filter(Column::Project.eq(name.project.as_str()))
                .filter(Column::Execution.eq(name.execution.as_str()))
                .filter(Column::Step.eq(step))
                .filter(Column::Number.eq(i64::from(number)))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        } else {
            let row = ActiveModel {
                project: Set(name.project.to_string()),
                execution: Set(name.execution.to_string()),
                step: Set(step.to_owned()),
                number: Set(i64::from(number)),
                start_time_us: Set(time_us),
                end_time_us: Set(None),
                error_code: Set(None),
                error_message: Set(None),
                repeated: Set(false),
                retry_time_us: Set(None),
            };
            row.insert(&self.inner).await.map_err(|e| internal(&e))?;
        }
        self.step_state(name, step, StepState::Running).await
    }

    /// Ends the attempt `number`, or whichever is open.
    pub(super) async fn attempt_ended(
        &self,
        name: &ExecutionName,
        step: &str,
        number: Option<u32>,
        error: Option<&Failure>,
        time_us: i64,
        retry_us: Option<i64>,
    ) -> Result<(), Error> {
        use entity::attempt::{Column, Entity};
        let mut update = Entity::update_many()
            .col_expr(Column::EndTimeUs, Expr::value(time_us))
            .col_expr(
                Column::ErrorCode,
                Expr::value(error.map(|error| error.code.clone())),
            )
            .col_expr(
                Column::ErrorMessage,
                Expr::value(error.map(|error| error.message.clone())),
            )
            .col_expr(Column::RetryTimeUs, Expr::value(retry_us))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Step.eq(step));
        update = match number {
            Some(number) => update.filter(Column::Number.eq(i64::from(number))),
            None => update.filter(Column::EndTimeUs.is_null()),
        };
        update.exec(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }
}

/// How a step ended.
pub(super) struct StepEnd<'a> {
    pub(super) state: StepState,
    pub(super) output: Option<&'a str>,
    pub(super) error: Option<&'a Failure>,
}

/// A step that started.
pub(super) struct NewStep<'a> {
    pub(super) step: &'a str,
    /// Of the record: steps are shown in this order.
    pub(super) sequence: u64,
    pub(super) kind: &'a str,
    pub(super) state: StepState,
    pub(super) input_json: &'a str,
    pub(super) end_time_us: Option<i64>,
    pub(super) is_kept: bool,
}
