//! Keys and workflows that were deleted and can be undeleted; which workflows published versions run.
//!
//! What is deleted stands in a table of its own, so that whoever does not know of it, as the version before this one, does not
//! find it. Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, boolean, text},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const DELETED: &str = "deleted_resources";
const CALLS: &str = "workflow_calls";
const WORKFLOWS: &str = "workflows";
/// The version whose calls are noted: not the published one where the version before this one published it.
const NOTED: &str = "calls_version";
const UNNOTED: &str = "workflows_by_unnoted_calls";

fn tables() -> [TableCreateStatement; 2] {
    [
        table(
            DELETED,
            [
                text("project"),
                text("kind"),
                text("id"),
                big_integer("create_time_us"),
                big_integer("delete_time_us"),
                // The row that it was; the versions of a workflow stay where they are.
                text("row_json"),
            ],
            ["project", "kind", "id"],
        ),
        table(
            CALLS,
            [
                text("project"),
                text("workflow"),
                // The workflow that the published version runs.
                text("callee"),
                // Whether every execution does.
                boolean("is_certain"),
            ],
            ["project", "workflow", "callee"],
        ),
    ]
}

fn indices() -> [IndexCreateStatement; 4] {
    let mut unnoted = index(UNNOTED, WORKFLOWS, ["project", "id"]);
    // None are, but for a moment.
    unnoted.and_where(Expr::cust(
        "published_version > 0 AND published_version <> calls_version",
    ));
    [
        index(
            "deleted_resources_by_time",
            DELETED,
            ["project", "kind", "create_time_us", "id"],
        ),
        index("deleted_resources_by_deletion", DELETED, ["delete_time_us"]),
        index(
            "workflow_calls_by_callee",
            CALLS,
            ["project", "callee", "workflow"],
        ),
        unnoted,
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut noted = big_integer(NOTED);
        noted.default(0);
        let mut add = Table::alter();
        add.table(WORKFLOWS).add_column(&mut noted);
        manager.alter_table(add.to_owned()).await?;
        for create in tables() {
            manager.create_table(create).await?;
        }
        for create in indices() {
            manager.create_index(create).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Index::drop().name(UNNOTED).table(WORKFLOWS).to_owned();
        manager.drop_index(drop).await?;
        for name in [CALLS, DELETED] {
            let drop = Table::drop().table(name).to_owned();
            manager.drop_table(drop).await?;
        }
        let mut drop = Table::alter();
        drop.table(WORKFLOWS).drop_column(NOTED);
        manager.alter_table(drop.to_owned()).await
    }
}
