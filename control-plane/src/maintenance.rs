//! What is done to a database beside serving from it: `migrate`, `backup`, `restore`, `move`, `rotate-master-key`.

use std::{
    cell::Cell,
    fmt::Write as _,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use secrecy::ExposeSecret as _;
use signalbox_model::error::Error;
use signalbox_runtime::data_dir::{DataDir, DataDirError};

use crate::{
    master_key::{self, RotationError},
    options::{
        BackupArgs, Command, MigrateArgs, MoveArgs, Options, RestoreArgs, RotateArgs, TwoKeys,
    },
    store::{self, Actor, BackupError, OpenError, Resealed, Store, TransferError},
};

/// How often a long command says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// What a command came to, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done(String),
    /// There is something to do.
    Pending(String),
}

/// Why a command did nothing. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// There is none, and none is made.
    #[error("{} does not exist", .0.display())]
    NoFolder(PathBuf),
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A back-up.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A move.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A rotation of the master key.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// It is not said which key.
    #[error(transparent)]
    TwoKeys(#[from] TwoKeys),
    /// The database, after it was opened.
    #[error(transparent)]
    Store(#[from] Error),
    /// PostgreSQL has its own.
    #[error(
        "a PostgreSQL database is backed up by its own tools, while replicas run: pg_dump -Fc, or continuous archiving"
    )]
    PostgresBackup,
    /// Likewise.
    #[error(
        "a PostgreSQL database is put back by its own tools (pg_restore); then give this command no file"
    )]
    PostgresRestore,
    /// It is not said which.
    #[error("name the file that `backup` made")]
    NoFile,
    /// There is no database in the folder to move.
    #[error(
        "--database-url is where control planes are; `move` takes what is in the data folder to the database after --to"
    )]
    MoveFromPostgres,
}

/// Does what `command` says.
///
/// # Errors
/// [`MaintenanceError`].
pub async fn run(options: &Options, command: &Command) -> Result<Outcome, MaintenanceError> {
    match command {
        Command::Migrate(arguments) => migrate(options, *arguments).await,
        Command::Backup(arguments) => back_up(options, arguments).await,
        Command::Restore(arguments) => restore(options, arguments).await,
        Command::Move(arguments) => move_to(options, arguments).await,
        Command::RotateMasterKey(arguments) => rotate(options, arguments).await,
    }
}

async fn migrate(options: &Options, arguments: MigrateArgs) -> Result<Outcome, MaintenanceError> {
    let url = options.database_url.as_ref();
    if arguments.check {
        let pending = Store::pending_migrations(&options.data_dir, url).await?;
        return Ok(match pending.is_empty() {
            true => Outcome::Done("the schema is up to date".to_owned()),
            false => Outcome::Pending(format!("to be applied: {}", pending.join(", "))),
        });
    }
    // SQLite has one process.
    let _data_dir = match url {
        Some(_) => None,
        None => Some(DataDir::open(&options.data_dir)?),
    };
    let pending = match Store::pending_migrations(&options.data_dir, url).await {
        Err(OpenError::None { .. }) => Vec::new(),
        pending => pending?,
    };
    Store::open_at(&options.data_dir, url).await?;
    Ok(Outcome::Done(match pending.is_empty() {
        true => "the schema is up to date".to_owned(),
        false => format!("applied: {}", pending.join(", ")),
    }))
}

async fn back_up(options: &Options, arguments: &BackupArgs) -> Result<Outcome, MaintenanceError> {
    if options.database_url.is_some() {
        return Err(MaintenanceError::PostgresBackup);
    }
    // The folder is not locked: the control plane has it.
    let made = store::back_up(&options.data_dir, &arguments.file, |done, all| {
        say(&format!("{} of about {} MiB", done >> 20, all >> 20));
    });
    let made = made.await?;
    Ok(Outcome::Done(format!(
        "{}: {} bytes, revision {}. Keep the master key and jwt-signing-key.pem with it, but not in the same place.",
        arguments.file.display(),
        made.bytes,
        made.revision
    )))
}

async fn restore(options: &Options, arguments: &RestoreArgs) -> Result<Outcome, MaintenanceError> {
    let actor = Actor {
        subject: "signalbox-control-plane restore".to_owned(),
        request_id: None,
        trace_id: None,
    };
    match (&options.database_url, &arguments.file) {
        (Some(_), Some(_)) => Err(MaintenanceError::PostgresRestore),
        (None, None) => Err(MaintenanceError::NoFile),
        (Some(url), None) => {
            let store = Store::open_url(url.expose_secret()).await?;
            let revision = store.write(async |tx| tx.renew(&actor).await).await?;
            Ok(Outcome::Done(format!(
                "the nodes will take the configuration anew, as of revision {revision}; start the replicas"
            )))
        }
        (None, Some(file)) => {
            let data_dir = DataDir::open(&options.data_dir)?;
            let put = store::put_back(data_dir.path(), file, &actor).await?;
            Ok(Outcome::Done(format!(
                "put back: {} bytes. The nodes will take the configuration anew, as of revision {}",
                put.bytes, put.revision
            )))
        }
    }
}

async fn move_to(options: &Options, arguments: &MoveArgs) -> Result<Outcome, MaintenanceError> {
    if options.database_url.is_some() {
        return Err(MaintenanceError::MoveFromPostgres);
    }
    let dir: &Path = &options.data_dir;
    let file = dir.join(store::DATABASE_FILE);
    if !file.exists() {
        return Err(MaintenanceError::NoFolder(file));
    }
    let _data_dir = DataDir::open(dir)?;
    let from = Store::open_at(dir, None).await?;
    let said = Cell::new(Instant::now());
    let transferred = store::transfer(&from, arguments.to.expose_secret(), |table, rows| {
        if said.get().elapsed() >= PROGRESS_INTERVAL {
            said.set(Instant::now());
            say(&format!("{table}: {rows} rows"));
        }
    });
    let transferred = transferred.await?;
    let mut text = String::new();
    for (table, sum) in &transferred.tables {
        let _ = writeln!(
            text,
            "{table}: {} rows, checksum {:032x}",
            sum.rows, sum.checksum
        );
    }
    text.push_str(match transferred.was_there {
        true => "all of it was there: an earlier move broke off at its end",
        false => "all of it was moved, and verified",
    });
    Ok(Outcome::Done(text))
}

async fn rotate(options: &Options, arguments: &RotateArgs) -> Result<Outcome, MaintenanceError> {
    let resealed = master_key::rotate(&options.rotation(arguments)?).await?;
    Ok(Outcome::Done(match resealed {
        Some(Resealed { keys, secrets }) => format!(
            "the values of {keys} API keys and {secrets} secrets are encrypted under the new master key"
        ),
        None => "all values were encrypted under the new master key already".to_owned(),
    }))
}

/// Nothing is lost where nobody listens.
fn say(text: &str) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}
