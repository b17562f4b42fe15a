//! Roles that were taken on, kept until shortly before their credentials end.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use moka::{Expiry, future::Cache};
use signalbox_engine::{
    AssumedRole, AttemptFailure, AwsCall, AwsCredentials, AwsRole, HttpResponse, assume_role_call,
    assumed_role,
};
use signalbox_runtime::ambient::Ambient;

use super::invalid;

/// How long before their end credentials are no longer used: a call may be under way for a while, and clocks differ.
const MARGIN: Duration = Duration::from_secs(300);
/// Roles that are kept.
const ROLES_MAX: u64 = 1024;

/// Digest of who takes on what, and how.
type Key = [u8; 32];

/// The roles. One that is being taken on is waited for by all who want it.
#[derive(Clone)]
pub(super) struct Roles {
    taken: Cache<Key, AssumedRole>,
}

impl Roles {
    pub(super) fn new(ambient: Arc<dyn Ambient>) -> Self {
        Self {
            taken: Cache::builder()
                .max_capacity(ROLES_MAX)
                .expire_after(UntilShortlyBefore(ambient))
                .build(),
        }
    }

    /// The credentials of `role`, taken on by `caller` in `region`; `send` asks STS.
    pub(super) async fn credentials<S, F>(
        &self,
        role: &AwsRole,
        caller: &AwsCredentials,
        region: Option<String>,
        send: S,
    ) -> Result<AwsCredentials, AttemptFailure>
    where
        S: FnOnce(AwsCall) -> F,
        F: Future<Output = Result<HttpResponse, AttemptFailure>>,
    {
        let key = key(role, caller, region.as_deref());
        let taken = self.taken.try_get_with(key, async {
            let call = assume_role_call(role, region, None).map_err(|what| invalid(&what))?;
            assumed_role(&send(call).await?)
        });
        match taken.await {
            Ok(role) => Ok(role.credentials),
            Err(failure) => Err((*failure).clone()),
        }
    }

    /// No longer uses what `credentials` are of.
    pub(super) async fn forget(&self, credentials: &AwsCredentials) {
        let of_them: Vec<Key> = self
            .taken
            .iter()
            .filter(|(_, role)| role.credentials == *credentials)
            .map(|(key, _)| *key)
            .collect();
        for key in of_them {
            self.taken.invalidate(&key).await;
        }
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roles").finish_non_exhaustive()
    }
}

fn key(role: &AwsRole, caller: &AwsCredentials, region: Option<&str>) -> Key {
    let mut hasher = blake3::Hasher::new();
    let duration = role.duration.as_secs().to_string();
    let endpoint = role.endpoint.as_ref().map(url::Url::as_str);
    for part in [
        Some(role.arn.as_str()),
        role.external_id.as_deref(),
        Some(&role.session_name),
        Some(&duration),
        endpoint,
        region,
        Some(&caller.access_key_id),
        Some(&caller.secret_access_key),
        caller.session_token.as_deref(),
    ] {
        let part = part.map_or(String::new(), |part| format!("{}:{part}", part.len()));
        hasher.update(part.as_bytes());
        hasher.update(b"\0");
    }
    *hasher.finalize().as_bytes()
}

/// When an entry leaves the cache. The clock that says when credentials end is the wall's.
pub(super) struct UntilShortlyBefore(pub(super) Arc<dyn Ambient>);

impl<K> Expiry<K, AssumedRole> for UntilShortlyBefore {
    fn expire_after_create(
        &self,
        _key: &K,
        role: &AssumedRole,
        _created_at: Instant,
    ) -> Option<Duration> {
        let left = role.expires_at.duration_since(self.0.now());
        let left = Duration::try_from(left).unwrap_or_default();
        // Of the shortest ones half: an emulator may grant what AWS does not.
        Some(left.saturating_sub(MARGIN).max(left / 2))
    }
}
