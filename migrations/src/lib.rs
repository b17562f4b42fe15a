//! The control plane's schema: one set of migrations for SQLite and PostgreSQL.
//!
//! Files are `mYYYYMMDD_NNNNNN_verb_noun.rs`. They import no entity, so that an old one keeps meaning what it meant. A
//! change that removes something comes in two releases: expand first, contract later. Each release leaves the one before it
//! able to work with the schema; a migration after which programs below some level cannot raises [`COMPATIBILITY`] to that
//! level (`docs/decisions/0026-replicas.md`).

use sea_orm_migration::prelude::*;

mod m20261124_000001_create_configuration;
mod m20261124_000002_create_history;
mod m20261124_000003_create_nodes;
mod m20261203_000004_add_rate_limits;
mod m20261210_000005_add_cancellation;
mod m20261211_000007_create_signals;
mod m20261212_000008_add_retries_and_schedules;
mod m20261217_000009_add_secret_delivery;
mod m20261220_000010_add_parents;
mod m20261221_000011_bound_history;
mod m20261222_000012_add_replicas;
mod m20261223_000013_add_audit_chain_and_labels;
mod m20261224_000014_create_tokens;
mod m20261225_000015_index_history;
mod m20261226_000016_extend_api_keys;
mod m20261227_000017_keep_deleted;
mod m20261228_000018_enroll_nodes;
mod m20261229_000019_add_projects;
mod m20261230_000020_order_messages;
mod m20261231_000021_index_states;
mod m20270102_000023_end_without_nodes;
mod m20270103_000024_add_link_keys;
mod m20270105_000025_bind_key_requests;

/// The row of `counters` whose value is the lowest level ([`level`]) of a program that works with the schema.
pub const COMPATIBILITY: &str = "schema-compatibility";

/// The level of the schema that this program knows: the highest number of its migrations.
#[must_use]
pub fn level() -> i64 {
    let numbers = Migrator::migrations();
    let numbers = numbers
        .iter()
        .filter_map(|migration| number(migration.name()));
    numbers.max().unwrap_or(0)
}

/// The number in `mYYYYMMDD_NNNNNN_verb_noun`.
fn number(name: &str) -> Option<i64> {
    name.split('_').nth(1)?.parse().ok()
}

/// All migrations, in order.
#[derive(Debug)]
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261124_000001_create_configuration::Migration),
            Box::new(m20261124_000002_create_history::Migration),
            Box::new(m20261124_000003_create_nodes::Migration),
            Box::new(m20261203_000004_add_rate_limits::Migration),
            Box::new(m20261210_000005_add_cancellation::Migration),
            Box::new(m20261211_000007_create_signals::Migration),
            Box::new(m20261212_000008_add_retries_and_schedules::Migration),
            Box::new(m20261217_000009_add_secret_delivery::Migration),
            Box::new(m20261220_000010_add_parents::Migration),
            Box::new(m20261221_000011_bound_history::Migration),
            Box::new(m20261222_000012_add_replicas::Migration),
            Box::new(m20261223_000013_add_audit_chain_and_labels::Migration),
            Box::new(m20261224_000014_create_tokens::Migration),
            Box::new(m20261225_000015_index_history::Migration),
            Box::new(m20261226_000016_extend_api_keys::Migration),
            Box::new(m20261227_000017_keep_deleted::Migration),
            Box::new(m20261228_000018_enroll_nodes::Migration),
            Box::new(m20261229_000019_add_projects::Migration),
            Box::new(m20261230_000020_order_messages::Migration),
            Box::new(m20261231_000021_index_states::Migration),
            Box::new(m20270102_000023_end_without_nodes::Migration),
            Box::new(m20270103_000024_add_link_keys::Migration),
            Box::new(m20270105_000025_bind_key_requests::Migration),
        ]
    }
}

/// A table of `columns` whose primary key is `key`.
pub(crate) fn table<const N: usize>(
    name: &'static str,
    columns: impl IntoIterator<Item = ColumnDef>,
    key: [&'static str; N],
) -> TableCreateStatement {
    let mut primary = Index::create();
    for column in key {
        primary.col(column);
    }
    let mut table = Table::create();
    table.table(name);
    for mut column in columns {
        table.col(&mut column);
    }
    table.primary_key(&mut primary);
    table
}

/// An index of `table` on `columns`.
pub(crate) fn index<const N: usize>(
    name: &'static str,
    table: &'static str,
    columns: [&'static str; N],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index.name(name).table(table);
    for column in columns {
        index.col(column);
    }
    index
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_migration_has_a_number_of_its_own_and_they_are_in_order() {
        let all = Migrator::migrations();
        let numbers: Vec<i64> = all.iter().map(|it| number(it.name()).unwrap()).collect();
        let unique: BTreeSet<i64> = numbers.iter().copied().collect();
        assert_eq!(unique.into_iter().collect::<Vec<_>>(), numbers);
        assert_eq!(level(), *numbers.last().unwrap());
    }
}
