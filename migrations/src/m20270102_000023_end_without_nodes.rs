//! Executions that were ended here without their nodes, which are told so when they come back; and ends that were reported so late
//! that the history would be gone at once, by the end alone.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer_null, boolean},
};

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "executions";
const TO_STOP: &str = "executions_to_stop";

fn columns() -> [ColumnDef; 2] {
    let mut is_left_at_node = boolean("is_left_at_node");
    is_left_at_node.default(false);
    // Microseconds since the Unix epoch.
    [is_left_at_node, big_integer_null("late_report_us")]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column at a time: SQLite adds no two in one statement.
        for mut column in columns() {
            let mut add = Table::alter();
            add.table(TABLE).add_column(&mut column);
            manager.alter_table(add.to_owned()).await?;
        }
        // Programs of the release before use `executions_to_cancel`, which stays.
        let mut create = index(TO_STOP, TABLE, ["node", "cancel_time_us", "id"]);
        create.and_where(Expr::cust(
            "cancel_time_us IS NOT NULL AND (end_time_us IS NULL OR is_left_at_node = true)",
        ));
        manager.create_index(create).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Index::drop().name(TO_STOP).table(TABLE).to_owned();
        manager.drop_index(drop).await?;
        for column in columns() {
            let mut drop = Table::alter();
            drop.table(TABLE).drop_column(column.get_column_name());
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
