//! Nodes' identities, and the tokens by which nodes enroll.
//!
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, blob, text, text_null},
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TOKENS: &str = "enrollment_tokens";
const IDENTITIES: &str = "node_identities";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tokens = table(
            TOKENS,
            [
                text("id"),
                // SHA-256 of the secret, which is kept nowhere.
                blob("digest"),
                // The node that it is for; null: any without an identity.
                text_null("node"),
                text("display_name"),
                text("actor"),
                big_integer("create_time_us"),
                big_integer("expire_time_us"),
                big_integer_null("use_time_us"),
                // The node that used it.
                text_null("used_by"),
                // How often it was presented in vain.
                big_integer("refusals"),
            ],
            ["id"],
        );
        manager.create_table(tokens).await?;
        let mut by_digest = index("enrollment_tokens_by_digest", TOKENS, ["digest"]);
        manager.create_index(by_digest.unique().to_owned()).await?;
        let identities = table(
            IDENTITIES,
            [
                text("node"),
                // Another with each enrollment: what a node's tokens name, and what is revoked.
                text("id"),
                blob("public_key"),
                text("display_name"),
                text("enrollment_token"),
                big_integer("enroll_time_us"),
                big_integer("renew_time_us"),
                // Of the last proof that was taken.
                big_integer("proof_time_us"),
                big_integer_null("revoke_time_us"),
            ],
            ["node"],
        );
        manager.create_table(identities).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in [IDENTITIES, TOKENS] {
            manager
                .drop_table(Table::drop().table(name).to_owned())
                .await?;
        }
        Ok(())
    }
}
