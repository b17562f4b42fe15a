//! Who waits for a change is told of it: in this process by channels, at other replicas by PostgreSQL's NOTIFY, which is part of
//! the transaction that wrote. What was told is only a hint: what counts is in the database, and is looked at again whenever a
//! listener had to begin anew, and every second besides (`docs/decisions/0026-replicas.md`).

use std::time::Duration;

use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DbErr, EntityTrait as _, Statement,
    sqlx::{self, postgres::PgListener},
};
use signalbox_migrations as migrations;
use signalbox_model::error::Error;
use tokio::{sync::watch, time::MissedTickBehavior};

use super::{HISTORY, REVISION, Store, Tx, entity, internal};

/// How often the counters are read although nobody told of a change.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Looks in a row that find what the listener was not told: it is deaf.
const DEAF_LOOKS: u32 = 2;

/// What a transaction changed that others wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    revision: Option<i64>,
    history: Option<i64>,
    errands: bool,
}

impl Told {
    fn is_nothing(self) -> bool {
        self == Self::default()
    }

    fn to_text(self) -> String {
        let mut words = Vec::new();
        words.extend(self.revision.map(|value| format!("revision={value}")));
        words.extend(self.history.map(|value| format!("history={value}")));
        words.extend(self.errands.then(|| "errands".to_owned()));
        words.join(" ")
    }

    /// A word that is not known comes from a replica of another version.
    fn from_text(text: &str) -> Self {
        let mut told = Self::default();
        for word in text.split(' ') {
            match word.split_once('=') {
                Some(("revision", value)) => told.revision = value.parse().ok(),
                Some(("history", value)) => told.history = value.parse().ok(),
                None if word == "errands" => told.errands = true,
                _ => {}
            }
        }
        told
    }
}

/// What keeps a database from being worked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It does not answer.
    #[error("the database cannot be reached")]
    Unreachable,
    /// A later version has changed it so that this one does not know it any more.
    #[error("the database's schema is of a version that this one does not work with: upgrade it")]
    Schema,
    /// It was put back, or another is in its place.
    #[error("the database is another than at the start: restart this control plane")]
    Replaced,
}

impl Trouble {
    fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "DATABASE_UNREACHABLE",
            Self::Schema => "DATABASE_SCHEMA_NEWER",
            Self::Replaced => "DATABASE_REPLACED",
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        Self::OutOfService {
            reason: trouble.reason(),
            message: trouble.to_string(),
        }
    }
}

impl Tx {
    pub(super) fn told(&self) -> Told {
        Told {
            revision: self.revision,
            history: self.history,
            errands: self.wakes_nodes,
        }
    }
}

/// What the counters say.
struct Look {
    is_newer: bool,
    trouble: Option<Trouble>,
}

impl Store {
    /// Changes when there is something to tell nodes: commands, cancellations, signals.
    #[must_use]
    pub fn errands(&self) -> watch::Receiver<u64> {
        self.errands.subscribe()
    }

    /// What keeps the database from being worked with, as far as [`Store::follow`] knows.
    #[must_use]
    pub fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.subscribe()
    }

    /// Whether other processes may have the database, too.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.db.get_database_backend() == DatabaseBackend::Postgres
    }

    fn channel(&self) -> String {
        format!("signalbox_{}", self.incarnation)
    }

    /// Tells the other replicas of a transaction, at its commit.
    pub(super) async fn notify(&self, tx: &Tx) -> Result<(), Error> {
        let told = tx.told();
        if told.is_nothing() || !self.is_shared() {
            return Ok(());
        }
        let statement = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT pg_notify($1, $2)",
            [self.channel().into(), told.to_text().into()],
        );
        tx.inner
            .execute_raw(statement)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Wakes whoever waits for it in this process.
    pub(super) fn learn(&self, told: Told) {
        for (value, known) in [
            (told.revision, &self.revision),
            (told.history, &self.history),
        ] {
            if let Some(value) = value {
                advance(known, value);
            }
        }
        if told.errands {
            self.errands.send_modify(|count| *count += 1);
        }
    }

    /// Reads the counters: other replicas may have written. (What this process wrote is known at once.)
    ///
    /// # Errors
    /// When the database does not answer, or is not to be worked with.
    pub async fn refresh(&self) -> Result<(), Error> {
        match self.look().await.map_err(|e| internal(&e))?.trouble {
            None => Ok(()),
            Some(trouble) => Err(trouble.into()),
        }
    }

    /// That the database is still the one that this process opened, and one that it knows, as far as [`Store::follow`] has seen.
    ///
    /// # Errors
    /// `OutOfService`.
    pub(super) fn check_trouble(&self) -> Result<(), Error> {
        match *self.trouble.borrow() {
            Some(trouble @ (Trouble::Schema | Trouble::Replaced)) => Err(trouble.into()),
            // One that was away a moment ago may be there.
            Some(Trouble::Unreachable) | None => Ok(()),
        }
    }

    async fn look(&self) -> Result<Look, DbErr> {
        let mut look = Look {
            is_newer: false,
            trouble: None,
        };
        for row in entity::counter::Entity::find().all(&self.db).await? {
            match row.name.as_str() {
                REVISION if row.label != *self.incarnation => {
                    look.trouble = Some(Trouble::Replaced);
                    return Ok(look);
                }
                REVISION => look.is_newer |= advance(&self.revision, row.value),
                HISTORY => look.is_newer |= advance(&self.history, row.value),
                migrations::COMPATIBILITY if row.value > migrations::level() => {
                    look.trouble = Some(Trouble::Schema);
                }
                _ => {}
            }
        }
        Ok(look)
    }

    /// Follows what other replicas write, for as long as it is polled. Where there can be none it does nothing.
    pub async fn follow(&self) {
        if !self.is_shared() {
            return std::future::pending().await;
        }
        let mut follower = Follower {
            store: self,
            listener: None,
            unheard_looks: 0,
            was_deaf: false,
        };
        let mut every = tokio::time::interval(LOOK_INTERVAL);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                heard = follower.hear() => Some(heard),
                _ = every.tick() => None,
            };
            match heard {
                Some(Ok(Some(text))) => follower.heard(&text),
                Some(Ok(None)) => follower.lost("the connection was closed").await,
                Some(Err(error)) => follower.lost(&error.to_string()).await,
                None => follower.look().await,
            }
        }
    }

    fn note_trouble(&self, trouble: Option<Trouble>) {
        self.trouble.send_if_modified(|known| {
            let changed = *known != trouble;
            match (changed, trouble) {
                (true, Some(trouble)) => tracing::error!("{trouble}"),
                (true, None) => tracing::info!("the database can be worked with again"),
                (false, _) => {}
            }
            *known = trouble;
            changed
        });
    }
}

/// Moves a counter on. False: it was there.
fn advance(known: &watch::Sender<i64>, value: i64) -> bool {
    known.send_if_modified(|known| {
        let is_newer = value > *known;
        *known = Ord::max(value, *known);
        is_newer
    })
}

/// The state of [`Store::follow`].
struct Follower<'a> {
    store: &'a Store,
    listener: Option<PgListener>,
    /// Looks in a row that found what the listener had not told.
    unheard_looks: u32,
    was_deaf: bool,
}

impl Follower<'_> {
    /// The next notification; none: the connection is gone.
    async fn hear(&mut self) -> Result<Option<String>, sqlx::Error> {
        let Some(listener) = &mut self.listener else {
            // The next look begins to listen.
            return std::future::pending().await;
        };
        let heard = listener.try_recv().await?;
        Ok(heard.map(|notification| notification.payload().to_owned()))
    }

    fn heard(&mut self, text: &str) {
        self.unheard_looks = 0;
        self.store.learn(Told::from_text(text));
    }

    async fn lost(&mut self, reason: &str) {
        tracing::warn!(
            reason,
            "the connection that tells of other replicas' changes is lost"
        );
        self.listener = None;
        self.look().await;
    }

    /// Begins to listen where nobody does, and then reads the counters: what was written before is found, what is written
    /// after is told.
    async fn look(&mut self) {
        let mut began = false;
        if self.listener.is_none() {
            match self.listen().await {
                Ok(listener) => {
                    self.listener = Some(listener);
                    began = true;
                }
                Err(error) => tracing::debug!(%error, "nobody listens yet"),
            }
        }
        let found = self.store.look().await;
        if began || self.listener.is_none() {
            // It is not known whether there is something to tell nodes.
            self.store.errands.send_modify(|count| *count += 1);
        }
        match found {
            Err(error) => {
                tracing::debug!(%error, "the counters cannot be read");
                self.store.note_trouble(Some(Trouble::Unreachable));
            }
            Ok(look) => {
                self.store.note_trouble(look.trouble);
                self.unheard_looks = match look.is_newer && !began {
                    true => self.unheard_looks + 1,
                    false => 0,
                };
            }
        }
        if self.unheard_looks >= DEAF_LOOKS {
            self.unheard_looks = 0;
            self.listener = None;
            // Through a proxy that gives each transaction another connection, nobody ever hears: that is said once.
            if !std::mem::replace(&mut self.was_deaf, true) {
                tracing::warn!(
                    "the database does not tell of changes; they are looked for every second"
                );
            }
        }
    }

    async fn listen(&self) -> Result<PgListener, sqlx::Error> {
        let pool = self.store.db.get_postgres_connection_pool();
        let mut listener = PgListener::connect_with(pool).await?;
        // A new listener is begun by hand, so that the counters are read after it.
        listener.eager_reconnect(false);
        listener.listen(&self.store.channel()).await?;
        Ok(listener)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again_and_unknown_words_are_passed_over() {
        for told in [
            Told::default(),
            Told {
                revision: Some(7),
                history: None,
                errands: true,
            },
            Told {
                revision: None,
                history: Some(9),
                errands: false,
            },
        ] {
            assert_eq!(Told::from_text(&told.to_text()), told);
        }
        let text = "tenants=4 history=3 x errands revision=no";
        let expected = Told {
            revision: None,
            history: Some(3),
            errands: true,
        };
        assert_eq!(Told::from_text(text), expected);
    }
}
