//! Executions whose end was asked for.

use sea_orm_migration::{prelude::*, schema::big_integer_null};

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMN: &str = "cancel_time_us";
const INDEX: &str = "executions_to_cancel";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut add = Table::alter();
        add.table("executions").add_column(big_integer_null(COLUMN));
        manager.alter_table(add.to_owned()).await?;
        // Few are: a partial index costs the others nothing.
        let mut create = index(INDEX, "executions", ["node", COLUMN]);
        create.and_where(Expr::cust(
            "cancel_time_us IS NOT NULL AND end_time_us IS NULL",
        ));
        manager.create_index(create).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Index::drop().name(INDEX).table("executions").to_owned();
        manager.drop_index(drop).await?;
        let mut drop = Table::alter();
        drop.table("executions").drop_column(COLUMN);
        manager.alter_table(drop.to_owned()).await
    }
}
