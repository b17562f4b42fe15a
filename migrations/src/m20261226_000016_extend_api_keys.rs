//! Scopes and rotation of API keys, and when they were last used.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, blob_null, text, text_null},
};

use crate::table;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const KEYS: &str = "api_keys";
const USES: &str = "key_uses";

fn columns() -> [(&'static str, ColumnDef); 4] {
    [
        // Workflows and networks as JSON; none: everything.
        ("scope_json", text_null("scope_json")),
        // SHA-256 of the value before, and when that stops working: both or neither.
        ("previous_digest", blob_null("previous_digest")),
        (
            "previous_expire_time_us",
            big_integer_null("previous_expire_time_us"),
        ),
        ("rotate_time_us", big_integer_null("rotate_time_us")),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column at a time: SQLite adds no two in one statement.
        for (_, column) in columns() {
            let add = Table::alter().table(KEYS).add_column(column).to_owned();
            manager.alter_table(add).await?;
        }
        let columns = [
            text("project"),
            text("api_key"),
            big_integer("use_time_us"),
            text("source_address"),
        ];
        let uses = table(USES, columns, ["project", "api_key"]);
        manager.create_table(uses).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Table::drop().table(USES).to_owned();
        manager.drop_table(drop).await?;
        for (column, _) in columns() {
            let drop = Table::alter().table(KEYS).drop_column(column).to_owned();
            manager.alter_table(drop).await?;
        }
        Ok(())
    }
}
