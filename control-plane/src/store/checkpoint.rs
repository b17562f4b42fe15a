//! Taking SQLite's write-ahead log into the database beside those who write, not by a commit that has to wait for it.
//!
//! A passive checkpoint stops nobody, but what is written meanwhile stands behind it, and the log begins anew only when all of it was
//! taken in (<https://sqlite.org/wal.html#ckpt>, "Avoiding Excessively Large WAL Files"). So it is made twice: beside the writers,
//! for nearly all, and again while they wait, for the little that they have written meanwhile.

use sea_orm::{ConnectionTrait as _, DatabaseBackend, DbErr, Statement};
use signalbox_model::error::Error;

use super::{Store, internal};

/// A log of fewer pages (of 4 KiB) need not begin anew: nobody waits for it.
const PAGES_SMALL: i64 = 1024;

/// What came of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checkpoint {
    /// Pages in the log.
    pages: i64,
    /// How many of them the database has.
    taken: i64,
}

impl Store {
    /// When something was committed since this was waited for last. Never, of PostgreSQL, which has no such log.
    pub async fn committed(&self) {
        self.committed.notified().await;
    }

    /// Takes the log into the database, as far as nobody reads an older state, so that what is written next begins it anew.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_in_log(&self) -> Result<(), Error> {
        let beside = self.checkpoint().await.map_err(|e| internal(&e))?;
        if beside.pages < PAGES_SMALL {
            return Ok(());
        }
        let _writer = self.writer().await;
        let all = self.checkpoint().await.map_err(|e| internal(&e))?;
        tracing::debug!(?beside, ?all, "took in the write-ahead log");
        Ok(())
    }

    async fn checkpoint(&self) -> Result<Checkpoint, DbErr> {
        let passive = "PRAGMA wal_checkpoint(PASSIVE)";
        let passive = Statement::from_string(DatabaseBackend::Sqlite, passive);
        let row = self.db.query_one_raw(passive).await?;
        let row = row.ok_or_else(|| DbErr::RecordNotFound("checkpoint".to_owned()))?;
        Ok(Checkpoint {
            pages: row.try_get_by_index(1)?,
            taken: row.try_get_by_index(2)?,
        })
    }
}
