//! Rate limits of API keys; quick looks at what was not accepted.

use sea_orm_migration::{prelude::*, schema::big_integer_null};

use crate::index;

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const LIMITS: [&str; 2] = ["rate_limit_events_per_second", "rate_limit_burst"];
const INDICES: [&str; 2] = ["refusals_by_workflow", "refusals_by_time"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // One column at a time: SQLite adds no two in one statement.
        for column in LIMITS {
            let mut add = Table::alter();
            add.table("api_keys").add_column(big_integer_null(column));
            manager.alter_table(add.to_owned()).await?;
        }
        // Few deliveries are not accepted: partial indices cost those that are nothing.
        let [by_workflow, by_time] = INDICES;
        let columns = ["project", "workflow", "verdict", "receive_time_us", "id"];
        let by_workflow = index(by_workflow, "deliveries", columns);
        let columns = ["project", "verdict", "receive_time_us", "id"];
        let by_time = index(by_time, "deliveries", columns);
        for mut create in [by_workflow, by_time] {
            create.and_where(Expr::cust("verdict <> 'ACCEPTED'"));
            manager.create_index(create).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in INDICES {
            let drop = Index::drop().name(name).table("deliveries").to_owned();
            manager.drop_index(drop).await?;
        }
        for column in LIMITS {
            let mut drop = Table::alter();
            drop.table("api_keys").drop_column(column);
            manager.alter_table(drop.to_owned()).await?;
        }
        Ok(())
    }
}
