//! The keys by which the links to approvals are verified that nodes' steps send.

use sea_orm_migration::{prelude::*, schema::blob_null};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "nodes";

/// Ed25519, 32 bytes. Null: the node has said none.
fn column() -> ColumnDef {
    blob_null("link_public_key")
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut add = Table::alter();
        add.table(TABLE).add_column(column());
        manager.alter_table(add.to_owned()).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut drop = Table::alter();
        drop.table(TABLE).drop_column(column().get_column_name());
        manager.alter_table(drop.to_owned()).await
    }
}
