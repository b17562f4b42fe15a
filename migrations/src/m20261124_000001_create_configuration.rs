//! Projects, keys, workflows, secrets; the change log, the audit log, and what makes requests idempotent.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, big_pk_auto, blob, boolean, text, text_null},
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
        for create in indices() {
            manager.create_index(create).await?;
        }
        let default_project = Query::insert()
            .into_table("projects")
            .columns(["id", "create_time_us"])
            .values_panic(["default".into(), 0_i64.into()])
            .to_owned();
        manager.exec_stmt(default_project).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "requests",
            "audit",
            "changes",
            "counters",
            "secrets",
            "workflow_keys",
            "workflow_versions",
            "workflows",
            "api_keys",
            "projects",
        ] {
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
            "projects",
            [text("id"), big_integer("create_time_us")],
            ["id"],
        ),
        table(
            "api_keys",
            [
                text("project"),
                text("id"),
                text("display_name"),
                text("prefix"),
                blob("digest"),
                blob("ciphertext"),
                big_integer_null("expire_time_us"),
                big_integer("create_time_us"),
                big_integer_null("revoke_time_us"),
                big_integer("revision"),
            ],
            ["project", "id"],
        ),
        table(
            "workflows",
            [
                text("project"),
                text("id"),
                text("display_name"),
                text("description"),
                boolean("enabled"),
                big_integer("latest_version"),
                big_integer("published_version"),
                text_null("bound_topic"),
                big_integer("create_time_us"),
                big_integer("update_time_us"),
                big_integer("revision"),
            ],
            ["project", "id"],
        ),
        table(
            "workflow_versions",
            [
                text("project"),
                text("workflow"),
                big_integer("version"),
                blob("source"),
                big_integer("create_time_us"),
                text("creator"),
            ],
            ["project", "workflow", "version"],
        ),
        // Keys that a workflow's published version names.
        table(
            "workflow_keys",
            [text("project"), text("workflow"), text("api_key")],
            ["project", "workflow", "api_key"],
        ),
        table(
            "secrets",
            [
                text("project"),
                text("id"),
                blob("ciphertext"),
                big_integer("create_time_us"),
                big_integer("update_time_us"),
                big_integer("revision"),
            ],
            ["project", "id"],
        ),
        // `revision`: of the configuration. `history`: of executions, for those who watch. `incarnation` names the database.
        table(
            "counters",
            [text("name"), big_integer("value"), text("label")],
            ["name"],
        ),
        table(
            "changes",
            [
                big_integer("revision"),
                text("kind"),
                text("resource"),
                boolean("deleted"),
                big_integer("time_us"),
            ],
            ["revision"],
        ),
        Table::create()
            .table("audit")
            .col(big_pk_auto("id"))
            .col(big_integer("time_us"))
            .col(text("actor"))
            .col(text("action"))
            .col(text("resource"))
            .col(text_null("request_id"))
            .to_owned(),
        table(
            "requests",
            [
                text("project"),
                text("method"),
                text("request_id"),
                text("resource"),
                big_integer("create_time_us"),
            ],
            ["project", "method", "request_id"],
        ),
    ]
}

fn indices() -> Vec<IndexCreateStatement> {
    vec![
        index("api_keys_by_digest", "api_keys", ["digest"])
            .unique()
            .to_owned(),
        index(
            "api_keys_by_time",
            "api_keys",
            ["project", "create_time_us", "id"],
        ),
        index(
            "workflows_by_time",
            "workflows",
            ["project", "create_time_us", "id"],
        ),
        index(
            "workflow_keys_by_key",
            "workflow_keys",
            ["project", "api_key"],
        ),
        index(
            "secrets_by_time",
            "secrets",
            ["project", "create_time_us", "id"],
        ),
        index("changes_by_resource", "changes", ["resource"]),
        index("requests_by_time", "requests", ["create_time_us"]),
    ]
}
