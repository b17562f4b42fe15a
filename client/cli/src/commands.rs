//! The commands that ask a control plane, and those that need none.

pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod executions;
pub(crate) mod export;
pub(crate) mod keys;
pub(crate) mod lists;
pub(crate) mod nodes;
pub(crate) mod projects;
pub(crate) mod secrets;
pub(crate) mod sns;
pub(crate) mod token;
pub(crate) mod workflows;

use std::{io::Read, path::Path};

use signalbox_client::ClientError;
use tonic::Code;

use crate::CliError;

/// Rows asked for at once.
pub(crate) const PAGE_SIZE: i32 = 500;
/// Size of a file that is read, in bytes: more than anything here may have.
const FILE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The text of a file, or of standard input for `-`.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    let bytes = read_bytes(path)?;
    String::from_utf8(bytes).map_err(|_| CliError::Data {
        what: path.display().to_string(),
        problems: vec!["is not UTF-8".to_owned()],
    })
}

/// The bytes of a file, or of standard input for `-`.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    let failed = |error| CliError::Read(path.to_owned(), error);
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(failed)?)
    };
    source
        .take(FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        return Err(CliError::Data {
            what: path.display().to_string(),
            problems: vec![format!("has more than {FILE_MAX_BYTES} bytes")],
        });
    }
    Ok(bytes)
}

/// What a read gave, if it is there.
pub(crate) fn if_found<T>(found: Result<T, ClientError>) -> Result<Option<T>, CliError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ClientError::Api(error)) if error.code == Code::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// All pages of a list, up to `limit` rows.
macro_rules! pages {
    ($client:expr, $limit:expr, $service:ident . $method:ident ( $request:expr ) . $rows:ident) => {{
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let mut request = $request;
            let missing = i32::try_from($limit.saturating_sub(all.len())).unwrap_or(i32::MAX);
            // 0 would be however many the control plane likes.
            request.page_size = missing.clamp(1, $crate::commands::PAGE_SIZE);
            request.page_token = page_token;
            let page = $client
                .idempotent(|| {
                    let (mut service, request) = ($client.$service(), request.clone());
                    async move { service.$method(request).await }
                })
                .await?;
            all.extend(page.$rows);
            page_token = page.next_page_token;
            if page_token.is_empty() || all.len() >= $limit {
                all.truncate($limit);
                break all;
            }
        }
    }};
}

/// A call that may be repeated.
macro_rules! call {
    ($client:expr, $service:ident . $method:ident ( $request:expr )) => {{
        let request = $request;
        $client
            .idempotent(|| {
                let (mut service, request) = ($client.$service(), request.clone());
                async move { service.$method(request).await }
            })
            .await?
    }};
}

/// A call that must not be repeated: after a lost answer it would fail, or do it twice.
macro_rules! once {
    ($client:expr, $service:ident . $method:ident ( $request:expr )) => {{
        $client
            .$service()
            .$method($request)
            .await
            .map_err(signalbox_client::ClientError::from)?
            .into_inner()
    }};
}

pub(crate) use {call, once, pages};
