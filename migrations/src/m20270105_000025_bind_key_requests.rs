//! What a request for a key's value made, and for whom: who repeats it is shown that value, and no other one.

use sea_orm_migration::{
    prelude::*,
    schema::{binary_null, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const TABLE: &str = "requests";

/// Empty for other requests, and for those that a program of the release before notes: their values are not shown again.
fn columns() -> [ColumnDef; 2] {
    [text_null("subject"), binary_null("value_digest")]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column at a time: SQLite adds no two in one statement.
        for mut column in columns() {
            let mut add = Table::alter();
            add.table(TABLE).add_column(&mut column);
            manager.alter_table(add.to_owned()).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in columns() {
            let mut drop = Table::alter();
            drop.table(TABLE).drop_column(column.get_column_name());
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
