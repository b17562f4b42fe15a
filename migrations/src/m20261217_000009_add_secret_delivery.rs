//! Secrets that published versions name; secrets in the change log, by which they reach the nodes.

use sea_orm_migration::{prelude::*, schema::text};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "workflow_secrets";

/// The change log has one entry for each revision, so each secret that there is gets one of its own.
const LOG: [&str; 2] = [
    "INSERT INTO changes (revision, kind, resource, deleted, time_us) \
     SELECT counters.value + ROW_NUMBER() OVER (ORDER BY secrets.project, secrets.id), 'secret', \
     'projects/' || secrets.project || '/secrets/' || secrets.id, FALSE, secrets.update_time_us \
     FROM secrets CROSS JOIN counters WHERE counters.name = 'revision'",
    "UPDATE counters SET value = value + (SELECT COUNT(*) FROM secrets) WHERE name = 'revision'",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Secrets that a workflow's published version names.
        let create = table(
            TABLE,
            [text("project"), text("workflow"), text("secret")],
            ["project", "workflow", "secret"],
        );
        manager.create_table(create).await?;
        let by_secret = index("workflow_secrets_by_secret", TABLE, ["project", "secret"]);
        manager.create_index(by_secret).await?;
        for statement in LOG {
            manager
                .get_connection()
                .execute_unprepared(statement)
                .await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .get_connection()
            .execute_unprepared("DELETE FROM changes WHERE kind = 'secret'")
            .await?;
        let drop = Table::drop().table(TABLE).to_owned();
        manager.drop_table(drop).await
    }
}
