//! Tokens of our own: the keys that verify them, and those that are revoked.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, blob, text},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const KEYS: &str = "token_keys";
const REVOKED: &str = "revoked_tokens";

/// Counts the changes of both, so that other replicas need read one row to know that there is one.
const COUNTER: &str = "INSERT INTO counters (name, value, label) VALUES ('tokens', 1, '')";
const NO_COUNTER: &str = "DELETE FROM counters WHERE name = 'tokens'";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Public halves only. A row stays for good: a key that was retired must never count again.
        let keys = table(
            KEYS,
            [
                text("id"),
                blob("public_key"),
                big_integer("create_time_us"),
                big_integer_null("retire_time_us"),
            ],
            ["id"],
        );
        manager.create_table(keys).await?;
        let revoked = table(
            REVOKED,
            [
                text("id"),
                // When the token ends by itself; null: not known.
                big_integer_null("expire_time_us"),
                big_integer("revoke_time_us"),
                text("actor"),
                text("reason"),
            ],
            ["id"],
        );
        manager.create_table(revoked).await?;
        let ends = index("revoked_tokens_by_expiry", REVOKED, ["expire_time_us"]);
        manager.create_index(ends).await?;
        let connection = manager.get_connection();
        connection.execute_unprepared(COUNTER).await?;
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let connection = manager.get_connection();
        connection.execute_unprepared(NO_COUNTER).await?;
        for name in [REVOKED, KEYS] {
            manager
                .drop_table(Table::drop().table(name).to_owned())
                .await?;
        }
        Ok(())
    }
}
