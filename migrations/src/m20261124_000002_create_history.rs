//! Executions, their events and steps; deliveries; subscriptions.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, blob, boolean, text, text_null},
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
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [
            "subscriptions",
            "deliveries",
            "certificates",
            "attempts",
            "step_runs",
            "events",
            "executions",
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
            "executions",
            [
                text("project"),
                text("id"),
                text("workflow"),
                big_integer("version"),
                text("state"),
                text("trigger_kind"),
                text("message_id"),
                text_null("topic_arn"),
                boolean("is_unsigned"),
                text_null("api_key"),
                text_null("node"),
                big_integer("create_time_us"),
                big_integer_null("start_time_us"),
                big_integer_null("end_time_us"),
                text_null("output_json"),
                text_null("error_code"),
                text_null("error_message"),
                text_null("trace_id"),
                big_integer("history"),
            ],
            ["project", "id"],
        ),
        table(
            "events",
            [
                text("project"),
                text("execution"),
                blob("body"),
                text_null("content_type"),
                text_null("source_address"),
                big_integer("receive_time_us"),
                text("scope_json"),
                big_integer_null("signature_version"),
                text_null("signing_cert_url"),
                text_null("certificate_sha256"),
            ],
            ["project", "execution"],
        ),
        table(
            "step_runs",
            [
                text("project"),
                text("execution"),
                text("step"),
                big_integer("position"),
                text("kind"),
                text("state"),
                text("input_json"),
                text_null("output_json"),
                text_null("error_code"),
                text_null("error_message"),
                big_integer("start_time_us"),
                big_integer_null("end_time_us"),
            ],
            ["project", "execution", "step"],
        ),
        table(
            "attempts",
            [
                text("project"),
                text("execution"),
                text("step"),
                big_integer("number"),
                big_integer("start_time_us"),
                big_integer_null("end_time_us"),
                text_null("error_code"),
                text_null("error_message"),
                boolean("repeated"),
                big_integer_null("retry_time_us"),
            ],
            ["project", "execution", "step", "number"],
        ),
        table("certificates", [text("sha256"), text("pem")], ["sha256"]),
        table(
            "deliveries",
            [
                text("project"),
                text("workflow"),
                text("id"),
                text("verdict"),
                text("reason"),
                text("detail"),
                big_integer("http_status"),
                text("message_type"),
                text("message_id"),
                text("topic_arn"),
                big_integer("receive_time_us"),
                text("source_address"),
                text_null("execution"),
                text("node"),
                text_null("trace_id"),
            ],
            ["project", "workflow", "id"],
        ),
        table(
            "subscriptions",
            [
                text("project"),
                text("workflow"),
                text("id"),
                text("topic_arn"),
                text_null("subscription_arn"),
                text("state"),
                big_integer("confirm_attempts"),
                text_null("last_error"),
                big_integer("create_time_us"),
                big_integer("update_time_us"),
                text("node"),
            ],
            ["project", "workflow", "id"],
        ),
    ]
}

fn indices() -> Vec<IndexCreateStatement> {
    vec![
        index(
            "executions_by_time",
            "executions",
            ["project", "create_time_us", "id"],
        ),
        index(
            "executions_by_workflow",
            "executions",
            ["project", "workflow", "create_time_us", "id"],
        ),
        index(
            "executions_by_state",
            "executions",
            ["project", "state", "create_time_us", "id"],
        ),
        index(
            "executions_by_message",
            "executions",
            ["project", "message_id"],
        ),
        index(
            "executions_by_history",
            "executions",
            ["project", "history"],
        ),
        index(
            "deliveries_by_time",
            "deliveries",
            ["project", "receive_time_us", "id"],
        ),
        index(
            "deliveries_by_workflow",
            "deliveries",
            ["project", "workflow", "receive_time_us", "id"],
        ),
        index(
            "subscriptions_by_time",
            "subscriptions",
            ["project", "create_time_us", "id"],
        ),
    ]
}
