//! An index of executions by workflow and state together, as whoever looks after a workflow asks for them: by either of the two
//! alone, all executions of the workflow, or of the state, are read for the few that are both.

use sea_orm_migration::prelude::*;

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "executions";
const NAME: &str = "executions_by_workflow_and_state";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = ["project", "workflow", "state", "create_time_us", "id"];
        manager.create_index(index(NAME, TABLE, columns)).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Index::drop().name(NAME).table(TABLE).to_owned();
        manager.drop_index(drop).await
    }
}
