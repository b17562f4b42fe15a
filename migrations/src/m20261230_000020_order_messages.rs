//! Indices of executions by message and by parent in the order of lists: without it, SQLite reads the whole history in order
//! sooner than a few rows out of it.

use sea_orm_migration::prelude::*;

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "executions";
const BEFORE: [&str; 2] = ["executions_by_message", "executions_by_parent"];
/// Names of their own: another connection, whose schema is old, would take the others to be there still.
const AFTER: [&str; 2] = ["executions_of_message", "executions_of_parent"];

async fn replace(
    manager: &SchemaManager<'_>,
    [by_message, by_parent]: [IndexCreateStatement; 2],
    before: [&str; 2],
) -> Result<(), DbErr> {
    let mut by_parent = by_parent;
    by_parent.and_where(Expr::cust("parent IS NOT NULL"));
    manager.create_index(by_message).await?;
    manager.create_index(by_parent).await?;
    for name in before {
        let drop = Index::drop().name(name).table(TABLE).to_owned();
        manager.drop_index(drop).await?;
    }
    Ok(())
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [by_message, by_parent] = AFTER;
        let after = [
            index(
                by_message,
                TABLE,
                ["project", "message_id", "create_time_us", "id"],
            ),
            index(
                by_parent,
                TABLE,
                ["project", "parent", "create_time_us", "id"],
            ),
        ];
        replace(manager, after, BEFORE).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let [by_message, by_parent] = BEFORE;
        let before = [
            index(by_message, TABLE, ["project", "message_id"]),
            index(by_parent, TABLE, ["project", "parent", "create_time_us"]),
        ];
        replace(manager, before, AFTER).await
    }
}
