//! Executions that retry others; schedules.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, boolean, text, text_null},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const RETRIES_OF: &str = "executions_by_retry_of";
const DUE: &str = "schedules_by_next";

fn columns() -> [(&'static str, ColumnDef); 4] {
    let mut is_kept = boolean("is_kept");
    is_kept.default(false);
    [
        ("executions", text_null("retry_of")),
        ("step_runs", is_kept),
        ("commands", text_null("retry_of")),
        ("commands", big_integer_null("schedule_time_us")),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, mut column) in columns() {
            let mut add = Table::alter();
            add.table(table).add_column(&mut column);
            manager.alter_table(add.to_owned()).await?;
        }
        let retries = table(
            "retries",
            [text("project"), text("execution"), text("facts_json")],
            ["project", "execution"],
        );
        let schedules = table(
            "schedules",
            [
                text("project"),
                text("workflow"),
                boolean("enabled"),
                big_integer("after_us"),
                big_integer_null("next_us"),
            ],
            ["project", "workflow"],
        );
        for create in [retries, schedules] {
            manager.create_table(create).await?;
        }
        // Few are: a partial index costs the others nothing.
        let mut retries_of = index(RETRIES_OF, "executions", ["project", "retry_of"]);
        retries_of.and_where(Expr::cust("retry_of IS NOT NULL"));
        manager.create_index(retries_of).await?;
        manager
            .create_index(index(DUE, "schedules", ["next_us"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Index::drop()
            .name(RETRIES_OF)
            .table("executions")
            .to_owned();
        manager.drop_index(drop).await?;
        for name in ["schedules", "retries"] {
            let drop = Table::drop().table(name).to_owned();
            manager.drop_table(drop).await?;
        }
        for (table, column) in columns() {
            let mut drop = Table::alter();
            drop.table(table).drop_column(column.get_column_name());
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
