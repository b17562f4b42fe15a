//! Projects that are made and deleted, their quotas, and how large their history is.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, text},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "projects";

fn columns() -> Vec<ColumnDef> {
    let number = |name: &'static str| {
        let mut column = big_integer(name);
        column.default(0_i64);
        column
    };
    let text = |name: &'static str, default: &'static str| {
        let mut column = text(name);
        column.default(default);
        column
    };
    vec![
        text("display_name", ""),
        text("labels_json", "{}"),
        number("revision"),
        // Set: it is being deleted.
        big_integer_null("delete_time_us"),
        // None: what the control plane says.
        big_integer_null("quota_workflows"),
        big_integer_null("quota_api_keys"),
        big_integer_null("quota_events_per_second"),
        big_integer_null("quota_history_bytes"),
        // What nodes are told; 0: no limit.
        number("events_per_second"),
        number("history_bytes"),
        // When the history was counted as a whole; none: never.
        big_integer_null("history_count_time_us"),
    ]
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
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            let mut drop = Table::alter();
            drop.table(TABLE).drop_column(column.get_column_name());
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
