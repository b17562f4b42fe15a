//! The audit log as a chain that is only ever added to; labels of keys and workflows.
//!
//! The table `audit` stays: the version before this one writes to it, and what it wrote is taken over by whoever starts.
//! Times are microseconds since the Unix epoch, in UTC.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, blob, text, text_null},
    sea_orm::DatabaseBackend,
};

use crate::{index, table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const ENTRIES: &str = "audit_entries";
const LABELS: &str = "labels";
/// Tables of what can have labels.
const LABELLED: [&str; 2] = ["api_keys", "workflows"];

/// What is refused: whoever may write to the database by accident, or by a fault of ours, cannot change what was written.
const SQLITE_GUARDS: [&str; 2] = [
    "CREATE TRIGGER audit_entries_no_update BEFORE UPDATE ON audit_entries \
     BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END",
    "CREATE TRIGGER audit_entries_no_delete BEFORE DELETE ON audit_entries \
     BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END",
];
const POSTGRES_GUARDS: [&str; 3] = [
    "CREATE FUNCTION audit_entries_append_only() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN RAISE EXCEPTION 'the audit log is only added to'; END $$",
    "CREATE TRIGGER audit_entries_no_change BEFORE UPDATE OR DELETE ON audit_entries \
     FOR EACH ROW EXECUTE FUNCTION audit_entries_append_only()",
    "CREATE TRIGGER audit_entries_no_truncate BEFORE TRUNCATE ON audit_entries \
     FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_append_only()",
];

fn guards(backend: DatabaseBackend) -> &'static [&'static str] {
    match backend {
        DatabaseBackend::Sqlite => &SQLITE_GUARDS,
        _ => &POSTGRES_GUARDS,
    }
}

fn tables() -> [TableCreateStatement; 2] {
    [
        table(
            ENTRIES,
            [
                // A project's name; empty: of no project.
                text("scope"),
                big_integer("sequence"),
                big_integer("time_us"),
                text("actor"),
                text("action"),
                text("resource"),
                text_null("request_id"),
                text_null("trace_id"),
                text("changes_json"),
                blob("hash"),
            ],
            ["scope", "sequence"],
        ),
        // By what resources are found; the rows themselves have the same as JSON.
        table(
            LABELS,
            [
                text("project"),
                text("kind"),
                text("id"),
                text("name"),
                text("value"),
            ],
            ["project", "kind", "id", "name"],
        ),
    ]
}

fn indices() -> [IndexCreateStatement; 4] {
    [
        index(
            "audit_entries_by_actor",
            ENTRIES,
            ["scope", "actor", "sequence"],
        ),
        index(
            "audit_entries_by_action",
            ENTRIES,
            ["scope", "action", "sequence"],
        ),
        index(
            "audit_entries_by_resource",
            ENTRIES,
            ["scope", "resource", "sequence"],
        ),
        index(
            "labels_by_value",
            LABELS,
            ["project", "kind", "name", "value", "id"],
        ),
    ]
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for create in tables() {
            manager.create_table(create).await?;
        }
        for create in indices() {
            manager.create_index(create).await?;
        }
        for table in LABELLED {
            let mut labels = text("labels_json");
            labels.default("{}");
            let mut add = Table::alter();
            add.table(table).add_column(&mut labels);
            manager.alter_table(add.to_owned()).await?;
        }
        for statement in guards(manager.get_database_backend()) {
            let connection = manager.get_connection();
            connection.execute_unprepared(statement).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in LABELLED {
            let mut drop = Table::alter();
            drop.table(table).drop_column("labels_json");
            manager.alter_table(drop.to_owned()).await?;
        }
        // Triggers go with their table.
        for name in [LABELS, ENTRIES] {
            let drop = Table::drop().table(name).to_owned();
            manager.drop_table(drop).await?;
        }
        let connection = manager.get_connection();
        if manager.get_database_backend() != DatabaseBackend::Sqlite {
            let drop = "DROP FUNCTION audit_entries_append_only()";
            connection.execute_unprepared(drop).await?;
        }
        // A chain that is begun anew begins at its beginning.
        connection
            .execute_unprepared("DELETE FROM counters WHERE name LIKE 'audit:%'")
            .await?;
        Ok(())
    }
}
