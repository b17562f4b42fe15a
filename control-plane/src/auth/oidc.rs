//! Tokens of others: OpenID Connect issuers, whose keys are found by discovery and kept.
//!
//! Each issuer has one task that fetches its keys, at the start, now and then, and when a token names a key that is not
//! among them. The last is rationed: tokens with made-up key ids cost their sender more than the issuer.

mod config;
mod fetch;
mod keys;

use std::{num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::{Map, Value};
use signalbox_model::error::Error;
use signalbox_runtime::{backoff::Backoff, shutdown::Shutdown};
use tokio::sync::{Notify, watch};

pub use self::config::OidcConfigError;
use self::{
    config::IssuerConfig,
    fetch::Http,
    keys::{Found, KeySet},
};
use super::{
    Identity,
    token::{end, explain, refused},
};

/// How often keys are fetched that nobody misses.
const REFRESH_INTERVAL: Duration = Duration::from_secs(300);
/// Pauses after a fetch that failed.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// How long a call waits for a key that is not known.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Fetches for the sake of unknown keys: so many at once, and one more each so often.
const ASKED_BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
const ASKED_PERIOD: Duration = Duration::from_secs(10);
/// Characters of a subject (OpenID Connect Core 1.0 §2).
const SUBJECT_MAX_CHARS: usize = 255;

/// The issuers of an installation.
#[derive(Clone, Debug, Default)]
pub struct Oidc(Vec<Arc<Issuer>>);

impl Oidc {
    /// Those of a file; their keys are fetched by tasks of `shutdown`, from now on.
    ///
    /// # Errors
    /// [`OidcConfigError`]. An issuer that cannot be reached is no error: it may be, later.
    pub fn start(file: &Path, shutdown: &Shutdown) -> Result<Self, OidcConfigError> {
        let issuers = config::read(file)?
            .into_iter()
            .map(|config| Issuer::new(config).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        for issuer in &issuers {
            let (issuer, shutdown_of) = (issuer.clone(), shutdown.clone());
            shutdown.spawn(async move {
                tokio::select! {
                    () = shutdown_of.stopping() => {}
                    () = issuer.follow() => {}
                }
            });
        }
        Ok(Self(issuers))
    }

    /// The issuer that a token says it is of; nothing of it is verified yet.
    pub(super) fn issuer_of(&self, token: &str) -> Option<&Arc<Issuer>> {
        #[derive(Deserialize)]
        struct Said {
            iss: String,
        }
        if self.0.is_empty() {
            return None;
        }
        let said: Said = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
        self.0
            .iter()
            .find(|issuer| issuer.config.issuer == said.iss)
    }
}

/// What is known of an issuer.
#[derive(Clone, Debug, Default)]
struct Known {
    keys: Arc<KeySet>,
    /// Fetches that have ended.
    fetches: u64,
    /// How the last one did.
    fresh: bool,
    /// One is under way.
    fetching: bool,
}

/// One issuer.
pub(super) struct Issuer {
    config: IssuerConfig,
    http: Http,
    known: watch::Sender<Known>,
    /// Somebody misses a key.
    asked: Notify,
    ration: DefaultDirectRateLimiter,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("issuer", &self.config.issuer)
            .finish_non_exhaustive()
    }
}

/// What a token's header says (RFC 7515 §4.1). Keys that it holds or points to are not looked at.
#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Head {
    fn of(token: &str) -> Result<Self, Error> {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let part = token.split('.').next().unwrap_or_default();
        let head = URL_SAFE_NO_PAD.decode(part).ok();
        let head: Option<Self> = head.and_then(|json| serde_json::from_slice(&json).ok());
        // What must be understood is not (RFC 7515 §4.1.11).
        head.filter(|head| head.crit.is_none())
            .ok_or_else(|| refused("TOKEN_MALFORMED", "the token is no JWT that is understood"))
    }
}

impl Issuer {
    fn new(config: IssuerConfig) -> Result<Self, OidcConfigError> {
        let quota = Quota::with_period(ASKED_PERIOD)
            .unwrap_or(Quota::per_minute(NonZeroU32::MIN))
            .allow_burst(ASKED_BURST);
        Ok(Self {
            http: Http::new(&config)?,
            config,
            known: watch::Sender::new(Known::default()),
            asked: Notify::new(),
            ration: RateLimiter::direct(quota),
        })
    }

    /// Fetches the keys, again and again.
    async fn follow(&self) {
        let mut retry = Backoff::new(RETRY_MIN, RETRY_MAX);
        loop {
            let pause = if self.fetch().await {
                retry.reset();
                REFRESH_INTERVAL
            } else {
                retry.next_delay()
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.asked.notified() => {}
            }
        }
    }

    async fn fetch(&self) -> bool {
        self.known.send_modify(|known| known.fetching = true);
        let fetched = self.http.keys(&self.config).await;
        let issuer = &self.config.issuer;
        let fresh = fetched.is_ok();
        let outcome = if fresh { "fetched" } else { "failed" };
        metrics::counter!("signalbox_oidc_fetches_total", "issuer" => issuer.clone(), "outcome" => outcome)
            .increment(1);
        self.known.send_modify(|known| {
            known.fetching = false;
            known.fetches += 1;
            known.fresh = fresh;
            match fetched {
                Ok(keys) => {
                    tracing::debug!(%issuer, keys = keys.len(), "an issuer's keys were fetched");
                    known.keys = Arc::new(keys);
                }
                // Those that are known go on being good: an issuer that is away has not taken them back.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(%issuer, error, "an issuer's keys cannot be fetched; it is tried again");
                }
            }
        });
        fresh
    }

    /// Who a token stands for.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason, never with a part of the token. `Unavailable` when it cannot be told.
    pub(super) async fn verify(&self, token: &str) -> Result<Identity, Error> {
        let head = Head::of(token)?;
        let algorithm = self
            .config
            .algorithms
            .iter()
            .find(|algorithm| format!("{algorithm:?}") == head.alg)
            .ok_or_else(|| refused("TOKEN_ALGORITHM", "the token's algorithm is not allowed"))?;
        let key = self.key(head.kid.as_deref(), *algorithm).await?;
        let mut validation = Validation::new(*algorithm);
        validation.leeway = self.config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.config.issuer]);
        validation.aud = Some(self.config.audiences.iter().cloned().collect());
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims: Map<String, Value> = decode(token, &key, &validation)
            .map_err(|error| explain(error.kind()))?
            .claims;
        let subject = claims.get("sub").and_then(Value::as_str);
        let subject = subject
            .filter(|sub| (1..=SUBJECT_MAX_CHARS).contains(&sub.chars().count()))
            .ok_or_else(|| refused("TOKEN_MALFORMED", "the token's subject is none"))?;
        // It is one: that was looked at. It may have a fraction (RFC 7519 §2, NumericDate).
        let exp = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0);
        let exp = SignedDuration::try_from_secs_f64(exp.round()).and_then(Timestamp::from_duration);
        Ok(Identity {
            ends_at: end(exp, self.config.leeway),
            // A subject is unique at its issuer only.
            subject: format!("{}#{subject}", self.config.issuer),
            roles: self.config.roles(&claims),
            token: None,
        })
    }

    /// The key `id`; where it is not known, the issuer is asked, within limits.
    async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, Error> {
        let mut known = self.known.subscribe();
        let before = known.borrow_and_update().clone();
        if let Some(found) = settled(&before, id, algorithm) {
            return found;
        }
        let after = if before.fetching || self.ration.check().is_ok() {
            if !before.fetching {
                self.asked.notify_one();
            }
            let fetched = known.wait_for(|known| known.fetches > before.fetches);
            match tokio::time::timeout(WAIT_MAX, fetched).await {
                Ok(Ok(known)) => known.clone(),
                _ => return Err(self.ignorance()),
            }
        } else {
            before
        };
        match settled(&after, id, algorithm) {
            Some(found) => found,
            None if after.fresh => Err(refused(
                "TOKEN_KEY_UNKNOWN",
                "the token is signed by a key that its issuer does not have",
            )),
            None => Err(self.ignorance()),
        }
    }

    /// Not knowing is no reason to send anybody away for good (I4).
    fn ignorance(&self) -> Error {
        Error::Unavailable {
            message: format!(
                "the keys of the issuer {} cannot be fetched now",
                self.config.issuer
            ),
        }
    }
}

/// What is known is enough: the key, or why there is none.
fn settled(
    known: &Known,
    id: Option<&str>,
    algorithm: Algorithm,
) -> Option<Result<DecodingKey, Error>> {
    match known.keys.find(id, algorithm) {
        Found::Key(key) => Some(Ok(key.clone())),
        Found::OtherAlgorithm => Some(Err(refused(
            "TOKEN_ALGORITHM",
            "the token's key is for another algorithm",
        ))),
        Found::Unnamed => Some(Err(refused(
            "TOKEN_KEY_UNKNOWN",
            "the token does not say by which of its issuer's keys it is signed",
        ))),
        Found::Unknown => None,
    }
}
