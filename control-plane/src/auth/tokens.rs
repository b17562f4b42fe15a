//! Our own tokens: the key that signs them, the keys that verify them, and which are revoked.
//!
//! The private half of a key never leaves its replica's data folder; the public halves are in the database, so that a token is
//! good at every replica. What the database says is kept in memory, and read anew when its counter has moved.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use signalbox_model::{audit::Change, error::Error};
use signalbox_runtime::{data_dir::DataDir, shutdown::Shutdown};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};

use super::{
    Claims, Identity, OwnToken, TokenError, TokenKey,
    token::{AUDIENCE, PublicKey, kid_of, refused},
};
use crate::store::{Actor, Page, PageOf, RevokedTokenRow, Store, TokenKeyRow};

/// How often the counter is read that another replica may have moved.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the clock is looked at by what waits for a time of day.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);
/// A new key signs when every replica has had the time to see it; those before are not retired until twice as long.
const SETTLING: Duration = Duration::from_secs(1);
/// Looks for the sake of unknown keys: so many at once, and one more each second.
const ASKED_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
/// Tokens that may be revoked at once.
const REVOKED_MAX: u64 = 10_000;
/// Characters of a token's id, and of a reason.
const TOKEN_ID_MAX_CHARS: usize = 128;
const REASON_MAX_CHARS: usize = 1_000;
/// Longest overlap of keys, and what it is when nobody says.
const OVERLAP_MAX: Duration = Duration::from_secs(400 * 86_400);
const OVERLAP_DEFAULT: Duration = Duration::from_secs(30 * 86_400);
/// A revocation is kept for so much longer than its token counts: clocks differ.
pub(super) const FORGET_AFTER: Duration = Duration::from_secs(3600);

/// Our own tokens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    data_dir: Arc<DataDir>,
    /// Whether other processes use the database.
    has_replicas: bool,
    signing: Mutex<Signing>,
    /// One rotation at a time.
    rotating: tokio::sync::Mutex<()>,
    known: watch::Sender<Arc<Known>>,
    ration: DefaultDirectRateLimiter,
}

#[derive(Debug)]
struct Signing {
    key: Arc<TokenKey>,
    /// What signs next, and from when.
    next: Option<(Arc<TokenKey>, Instant)>,
}

/// What the database says.
#[derive(Debug, Default)]
struct Known {
    version: i64,
    keys: HashMap<String, Verifying>,
    revoked: HashSet<String>,
}

#[derive(Debug)]
struct Verifying {
    key: PublicKey,
    retire_us: Option<i64>,
}

impl Known {
    /// Why a token counts no more, if so.
    fn check(&self, token_id: &str) -> Result<(), Error> {
        if self.revoked.contains(token_id) {
            return Err(refused("TOKEN_REVOKED", "the token is revoked"));
        }
        Ok(())
    }
}

impl Tokens {
    /// Those of a control plane: its signing key is made when there is none, or when the one that there is was retired.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn open(
        store: Store,
        data_dir: Arc<DataDir>,
        has_replicas: bool,
    ) -> Result<Self, TokenError> {
        let key = TokenKey::load_or_create(&data_dir)?;
        let tokens = Self(Arc::new(Inner {
            store,
            data_dir,
            has_replicas,
            signing: Mutex::new(Signing {
                key: Arc::new(key),
                next: None,
            }),
            rotating: tokio::sync::Mutex::default(),
            known: watch::Sender::new(Arc::default()),
            ration: RateLimiter::direct(
                Quota::per_second(NonZeroU32::MIN).allow_burst(ASKED_BURST),
            ),
        }));
        tokens.register(&tokens.signing_key()).await?;
        tokens.reload().await?;
        if tokens.is_retired(&tokens.signing_key()) {
            let key = Arc::new(TokenKey::generate()?);
            tokens.register(&key).await?;
            tokens.reload().await?;
            tokens.adopt(key)?;
        }
        Ok(tokens)
    }

    /// Sees what other replicas write, until the shutdown.
    pub async fn follow(self, shutdown: Shutdown) {
        let mut every = tokio::time::interval(LOOK_INTERVAL);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.stopping() => return,
                _ = every.tick() => {}
            }
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "changes of tokens cannot be looked for");
            }
        }
    }

    async fn look(&self) -> Result<(), TokenError> {
        if self.0.has_replicas {
            self.look_for_changes().await?;
        }
        if let Ok(_rotating) = self.0.rotating.try_lock() {
            self.move_on().await?;
        }
        Ok(())
    }

    /// Adopts the next key when it is time; makes one when another replica has rotated, and the key that signs here is to end.
    /// Only with `rotating` held.
    async fn move_on(&self) -> Result<(), TokenError> {
        let due = {
            let mut signing = self.signing();
            let is_due = |(_, due): &(_, Instant)| *due <= Instant::now();
            signing.next.take_if(|next| is_due(next))
        };
        if let Some((key, _)) = due {
            self.adopt(key)?;
        }
        if self.is_retired(&self.signing_key()) && !self.has_next() {
            let key = Arc::new(TokenKey::generate()?);
            self.register(&key).await?;
            self.reload().await?;
            self.signing().next = Some((key, Instant::now() + SETTLING));
        }
        Ok(())
    }

    async fn look_for_changes(&self) -> Result<(), Error> {
        let version = self.0.store.tokens_version().await?;
        if version != self.0.known.borrow().version {
            self.reload().await?;
        }
        Ok(())
    }

    fn signing(&self) -> std::sync::MutexGuard<'_, Signing> {
        self.0
            .signing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn signing_key(&self) -> Arc<TokenKey> {
        self.signing().key.clone()
    }

    fn has_next(&self) -> bool {
        self.signing().next.is_some()
    }

    fn is_retired(&self, key: &TokenKey) -> bool {
        let known = self.0.known.borrow();
        let known = known.keys.get(key.id());
        known.is_some_and(|known| known.retire_us.is_some())
    }

    async fn register(&self, key: &TokenKey) -> Result<(), Error> {
        let public = key.public();
        self.0
            .store
            .write(async |tx| tx.put_token_key(key.id(), public.bytes()).await)
            .await
    }

    /// Signs by `key` from now on, also after a restart: where it cannot be kept, that makes another.
    fn adopt(&self, key: Arc<TokenKey>) -> Result<(), TokenError> {
        self.signing().key = key.clone();
        tracing::info!(key = key.id(), "tokens are signed by a new key");
        key.save(&self.0.data_dir).inspect_err(|error| {
            tracing::error!(%error, "the key that signs tokens cannot be kept");
        })
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) async fn reload(&self) -> Result<(), Error> {
        let store = &self.0.store;
        // Before the rest: what is written meanwhile is looked at again.
        let version = store.tokens_version().await?;
        let mut keys = HashMap::new();
        for TokenKeyRow {
            id,
            public_key,
            retire_time_us,
            ..
        } in store.token_keys().await?
        {
            match PublicKey::new(&public_key) {
                Ok(key) => {
                    let retire_us = retire_time_us;
                    keys.insert(id, Verifying { key, retire_us });
                }
                Err(error) => tracing::error!(%error, id, "a stored key is none"),
            }
        }
        let revoked = store.all_revoked_tokens().await?;
        let revoked = revoked.into_iter().map(|row| row.id).collect();
        self.0.known.send_if_modified(|known| {
            let newer = version >= known.version;
            if newer {
                *known = Arc::new(Known {
                    version,
                    keys,
                    revoked,
                });
            }
            newer
        });
        Ok(())
    }

    /// A token that says `claims`.
    ///
    /// # Errors
    /// [`TokenError::Sign`].
    pub fn mint(&self, claims: &Claims) -> Result<String, TokenError> {
        self.sign(claims)
    }

    /// A token that says `claims`, of whatever kind.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        self.signing_key().sign(claims)
    }

    /// Who a token stands for. A key that is not known may be another replica's, and new: it is looked for, now and then.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason; never with a part of the token.
    pub async fn identify(&self, token: &str) -> Result<Identity, Error> {
        let key_id = kid_of(token)?;
        let is_known = self.0.known.borrow().keys.contains_key(&key_id);
        if !is_known && self.0.has_replicas && self.0.ration.check().is_ok() {
            self.look_for_changes().await?;
        }
        self.verify(token)
    }

    /// Who a token stands for, by what is known here.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason; never with a part of the token.
    pub fn verify(&self, token: &str) -> Result<Identity, Error> {
        let claims: Claims = self.claims_of(token, AUDIENCE)?;
        self.check(&claims.jti)?;
        if let Some(identity) = &claims.node_identity {
            self.check(identity)?;
        }
        claims.identity(&kid_of(token)?)
    }

    /// What a token for `audience` says.
    pub(super) fn claims_of<T: DeserializeOwned>(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<T, Error> {
        let key_id = kid_of(token)?;
        let known = self.0.known.borrow().clone();
        let verifying = known.keys.get(&key_id).ok_or_else(|| {
            refused(
                "TOKEN_SIGNATURE_INVALID",
                "the token's signature is not by a key of this control plane",
            )
        })?;
        let now_us = Timestamp::now().as_microsecond();
        if verifying.retire_us.is_some_and(|end| end <= now_us) {
            return Err(refused(
                "TOKEN_KEY_RETIRED",
                "the token is signed by a key that was retired",
            ));
        }
        verifying.key.claims_of(token, audience)
    }

    /// Whether a token with this `kid` would be of a key of ours, retired or not.
    pub(super) fn knows(&self, key_id: &str) -> bool {
        self.0.known.borrow().keys.contains_key(key_id)
    }

    /// That the token with this id counts still, or those of a node's identity.
    pub(super) fn check(&self, token_id: &str) -> Result<(), Error> {
        self.0.known.borrow().check(token_id)
    }

    /// Until a token is revoked, or its key retired. That it ends by itself is not waited for.
    pub(super) async fn revocation(self, token: OwnToken) {
        let mut known = self.0.known.subscribe();
        loop {
            let retire_us = {
                let now = known.borrow_and_update();
                if token.revocable_ids().any(|id| now.check(id).is_err()) {
                    return;
                }
                let key = now.keys.get(&token.key_id);
                key.and_then(|key| key.retire_us)
            };
            let retired = async {
                match retire_us {
                    Some(end) => tokio::time::sleep(until(end)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender is ours: it is not gone before we are.
                _ = known.changed() => {}
                () = retired => return,
            }
        }
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// `Invalid`; `Exhausted` when too many are.
    pub async fn revoke(
        &self,
        actor: &Actor,
        token_id: &str,
        expire_us: Option<i64>,
        reason: &str,
    ) -> Result<RevokedTokenRow, Error> {
        let length = token_id.chars().count();
        if !(1..=TOKEN_ID_MAX_CHARS).contains(&length) {
            let what = format!("expected 1 to {TOKEN_ID_MAX_CHARS} characters");
            return Err(Error::invalid("token_id", what));
        }
        if reason.chars().count() > REASON_MAX_CHARS {
            let what = format!("has more than {REASON_MAX_CHARS} characters");
            return Err(Error::invalid("reason", what));
        }
        let row = self.0.store.write(async |tx| {
            let row = RevokedTokenRow {
                id: token_id.to_owned(),
                expire_time_us: expire_us,
                revoke_time_us: tx.now_us(),
                actor: actor.subject.clone(),
                reason: reason.to_owned(),
            };
            let forget = micros(FORGET_AFTER);
            let row = tx
                .revoke_token(row, tx.now_us() - forget, REVOKED_MAX)
                .await?;
            let name = format!("revokedTokens/{token_id}");
            let change = Change::new_field("reason", reason);
            tx.audit(actor, "RevokeToken", &name, vec![change]);
            Ok(row)
        });
        let row = row.await?;
        self.reload().await?;
        Ok(row)
    }

    /// The tokens that are revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked(&self, page: &Page) -> Result<PageOf<RevokedTokenRow>, Error> {
        self.0.store.revoked_tokens(page).await
    }

    /// The keys, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(&self) -> Result<Vec<TokenKeyRow>, Error> {
        self.0.store.token_keys().await
    }

    /// Makes a new key that signs; those before verify for `overlap`, or 30 days. Ends when the new one signs here.
    ///
    /// # Errors
    /// `Invalid`; `Internal` when there is no randomness, or the data folder cannot be written.
    pub async fn rotate(
        &self,
        actor: &Actor,
        overlap: Option<Duration>,
    ) -> Result<TokenKeyRow, Error> {
        let overlap = overlap.unwrap_or(OVERLAP_DEFAULT);
        if overlap > OVERLAP_MAX {
            let what = format!("is more than {} days", OVERLAP_MAX.as_secs() / 86_400);
            return Err(Error::invalid("overlap", what));
        }
        let key = Arc::new(TokenKey::generate().map_err(unusable)?);
        let public = key.public();
        let settling = match self.0.has_replicas {
            true => SETTLING,
            false => Duration::ZERO,
        };
        let rotating = self.0.rotating.lock().await;
        let create_time_us = self.0.store.write(async |tx| {
            let retire_us = tx.now_us() + micros(overlap + 2 * settling);
            tx.retire_token_keys(retire_us).await?;
            tx.put_token_key(key.id(), public.bytes()).await?;
            let name = format!("signingKeys/{}", key.id());
            tx.audit(actor, "RotateSigningKey", &name, Vec::new());
            Ok(tx.now_us())
        });
        let create_time_us = create_time_us.await?;
        // Whatever becomes of this call, the key is adopted.
        self.signing().next = Some((key.clone(), Instant::now() + settling));
        self.reload().await?;
        drop(rotating);
        tokio::time::sleep(settling).await;
        let rotating = self.0.rotating.lock().await;
        self.move_on().await.map_err(unusable)?;
        drop(rotating);
        Ok(TokenKeyRow {
            id: key.id().to_owned(),
            public_key: public.bytes().to_vec(),
            create_time_us,
            retire_time_us: None,
        })
    }
}

fn until(time_us: i64) -> Duration {
    let left_us = time_us.saturating_sub(Timestamp::now().as_microsecond());
    Duration::from_micros(u64::try_from(left_us).unwrap_or_default())
}

/// Until a time of day. The clock may be set meanwhile, or the machine sleep: it is looked at again.
pub(super) async fn passed(time: Timestamp) {
    loop {
        let left = until(time.as_microsecond());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(CLOCK_INTERVAL)).await;
    }
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn unusable(error: TokenError) -> Error {
    match error {
        TokenError::Store(error) => error,
        error => {
            tracing::error!(%error, "the signing key cannot be rotated");
            Error::Internal {
                message: "the signing key cannot be rotated; the log says why".to_owned(),
            }
        }
    }
}
