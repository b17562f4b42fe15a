//! Several control planes at one database: which stream is a node's newest, and which versions of the program may still work
//! with the schema (`docs/decisions/0026-replicas.md`).

use sea_orm_migration::{prelude::*, schema::text_null};

use crate::COMPATIBILITY;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const COLUMN: &str = "stream";
/// The level of the schema before: programs of that level work with this one.
const LEVEL_BEFORE: i64 = 9;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut add = Table::alter();
        add.table("nodes").add_column(text_null(COLUMN));
        manager.alter_table(add.to_owned()).await?;
        let row = Query::insert()
            .into_table("counters")
            .columns(["name", "value", "label"])
            .values_panic([COMPATIBILITY.into(), LEVEL_BEFORE.into(), "".into()])
            .to_owned();
        manager.exec_stmt(row).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let row = Query::delete()
            .from_table("counters")
            .and_where(Expr::col("name").eq(COMPATIBILITY))
            .to_owned();
        manager.exec_stmt(row).await?;
        let mut drop = Table::alter();
        drop.table("nodes").drop_column(COLUMN);
        manager.alter_table(drop.to_owned()).await
    }
}
