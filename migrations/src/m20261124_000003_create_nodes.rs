//! Nodes, what they have reported, and the commands for them.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, boolean, text, text_null},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for create in tables() {
            manager.create_table(create).await?;
        }
        manager
            .create_index(index(
                "commands_open",
                "commands",
                ["done", "node", "request_time_us"],
            ))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in ["commands", "report_cursors", "nodes"] {
            manager
                .drop_table(Table::drop().table(name).to_owned())
                .await?;
        }
        Ok(())
    }
}

fn tables() -> Vec<TableCreateStatement> {
    vec![
        table(
            "nodes",
            [
                text("id"),
                text("version"),
                boolean("connected"),
                big_integer("applied_revision"),
                text("refusals_json"),
                big_integer("connect_time_us"),
                big_integer("last_seen_time_us"),
                big_integer_null("last_report_time_us"),
                big_integer("reported_sequence"),
            ],
            ["id"],
        ),
        table(
            "report_cursors",
            [text("node"), text("incarnation"), big_integer("sequence")],
            ["node", "incarnation"],
        ),
        table(
            "commands",
            [
                text("id"),
                text("project"),
                text("execution"),
                text("workflow"),
                big_integer("version"),
                text("input_json"),
                text_null("traceparent"),
                big_integer("request_time_us"),
                text_null("node"),
                boolean("done"),
            ],
            ["id"],
        ),
    ]
}
