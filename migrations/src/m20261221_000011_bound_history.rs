//! What of large values is recorded, and what is kept of them whole; how long history is kept, and what finds the rows that
//! are kept no longer.
//!
//! Times and spans are microseconds.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer_null, boolean, text},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const WHOLE_VALUES: &str = "whole_values";
const ENDED: &str = "executions_by_end";
const COMMANDS: &str = "commands_by_execution";

fn columns() -> [(&'static str, ColumnDef); 5] {
    let mut has_whole_values = boolean("has_whole_values");
    has_whole_values.default(false);
    [
        ("projects", big_integer_null("history_retention_us")),
        ("step_runs", big_integer_null("input_truncated_bytes")),
        ("step_runs", big_integer_null("output_truncated_bytes")),
        ("executions", big_integer_null("output_truncated_bytes")),
        ("executions", has_whole_values),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column at a time: SQLite adds no two in one statement.
        for (table, mut column) in columns() {
            let mut add = Table::alter();
            add.table(table).add_column(&mut column);
            manager.alter_table(add.to_owned()).await?;
        }
        let whole_values = table(
            WHOLE_VALUES,
            [
                text("project"),
                text("execution"),
                text("step"),
                // `input` or `output`.
                text("part"),
                text("json"),
            ],
            ["project", "execution", "step", "part"],
        );
        manager.create_table(whole_values).await?;
        // What goes on, however long, is not looked at.
        let mut ended = index(ENDED, "executions", ["project", "end_time_us", "id"]);
        ended.and_where(Expr::cust("end_time_us IS NOT NULL"));
        let commands = index(COMMANDS, "commands", ["project", "execution"]);
        for create in [ended, commands] {
            manager.create_index(create).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, table) in [(ENDED, "executions"), (COMMANDS, "commands")] {
            let drop = Index::drop().name(name).table(table).to_owned();
            manager.drop_index(drop).await?;
        }
        let drop = Table::drop().table(WHOLE_VALUES).to_owned();
        manager.drop_table(drop).await?;
        for (table, column) in columns() {
            let mut drop = Table::alter();
            drop.table(table).drop_column(column.get_column_name());
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
