//! Executions that steps of others started.

use sea_orm_migration::{prelude::*, schema::text_null};

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "executions";
const CHILDREN_OF: &str = "executions_by_parent";
/// Id of the execution, and the run of the step.
const COLUMNS: [&str; 2] = ["parent", "parent_step"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            let mut add = Table::alter();
            add.table(TABLE).add_column(text_null(column));
            manager.alter_table(add.to_owned()).await?;
        }
        // Few are children: a partial index costs the others nothing.
        let mut children_of = index(CHILDREN_OF, TABLE, ["project", "parent", "create_time_us"]);
        children_of.and_where(Expr::cust("parent IS NOT NULL"));
        manager.create_index(children_of).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Index::drop().name(CHILDREN_OF).table(TABLE).to_owned();
        manager.drop_index(drop).await?;
        for column in COLUMNS {
            let mut drop = Table::alter();
            drop.table(TABLE).drop_column(column);
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
