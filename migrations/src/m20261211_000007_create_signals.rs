//! What executions are told: signals and the decisions of approvals, until their nodes have them and after.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, boolean, text, text_null},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "signals";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let create = table(
            TABLE,
            [
                text("project"),
                text("execution"),
                text("id"),
                // A signal has a name and a payload; a decision has the run of a step, what was decided and a comment.
                text_null("name"),
                text_null("payload_json"),
                text_null("step"),
                text_null("decision"),
                text_null("comment"),
                text("actor"),
                big_integer("create_time_us"),
                big_integer_null("take_time_us"),
                text_null("traceparent"),
                // Nobody needs to be told any more: the node has it, or the execution ended without.
                boolean("settled"),
            ],
            ["project", "execution", "id"],
        );
        manager.create_table(create).await?;
        // The first decision of a step is the only one. Of signals there may be many: their step is null.
        let mut first = index(
            "signals_one_decision",
            TABLE,
            ["project", "execution", "step"],
        );
        manager.create_index(first.unique().to_owned()).await?;
        // Few are: a partial index costs the others nothing.
        let mut open = index("signals_to_tell", TABLE, ["create_time_us"]);
        open.and_where(Expr::cust("settled = false"));
        manager.create_index(open).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(TABLE).to_owned())
            .await
    }
}
