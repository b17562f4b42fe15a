//! Indices of executions by topic, key and trigger.

use sea_orm_migration::prelude::*;

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Names, columns, and which rows.
const INDICES: [(&str, &str, Option<&str>); 3] = [
    (
        "executions_by_topic",
        "topic_arn",
        Some("topic_arn IS NOT NULL"),
    ),
    ("executions_by_key", "api_key", Some("api_key IS NOT NULL")),
    ("executions_by_trigger", "trigger_kind", None),
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, column, of) in INDICES {
            let columns = ["project", column, "create_time_us", "id"];
            let mut index = index(name, "executions", columns);
            if let Some(of) = of {
                index.and_where(Expr::cust(of));
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (name, ..) in INDICES {
            let drop = Index::drop().name(name).table("executions").to_owned();
            manager.drop_index(drop).await?;
        }
        Ok(())
    }
}
