//! Scopes of keys, against the workflows that name them.

use signalbox_model::{error::Error, key_scope::KeyScope};

use crate::store::{Tx, rows::ApiKey};

/// Workflows that a refusal names.
const USERS_SHOWN_MAX: usize = 10;

/// A workflow must not be left without a key that it names by somebody who thinks of the key alone.
pub(super) async fn check_users(tx: &Tx, row: &ApiKey, scope: &KeyScope) -> Result<(), Error> {
    let left_out: Vec<String> = tx
        .users_of_key(row)
        .await?
        .iter()
        .filter(|user| !scope.has_workflow(&user.workflow))
        .map(ToString::to_string)
        .collect();
    if left_out.is_empty() {
        return Ok(());
    }
    let name = format!("projects/{}/apiKeys/{}", row.project, row.id);
    let shown = left_out.len().min(USERS_SHOWN_MAX);
    let more = match left_out.len() - shown {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(Error::Precondition {
        reason: "REFERENCED",
        message: format!(
            "{name} would not count for {}{more} any more, but is named by what is published; publish versions without \
             it first",
            left_out[..shown].join(", ")
        ),
        subject: name,
    })
}
