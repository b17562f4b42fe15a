//! Certificates by ACME (RFC 8555), for a listener that proves by itself whose it is (TLS-ALPN-01, RFC 8737): no other
//! port, no other program.

mod challenge;
mod config;
mod error;
mod http;
mod order;
mod stored;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::time::Instant;

pub use config::{
    AcmeConfig, AcmeConfigError, Contact, DOMAINS_MAX, DirectoryUrl, Domain, Domains,
    ExternalAccount, LETS_ENCRYPT, RETRY_MIN,
};
pub use error::AcmeOpenError;

use super::hangups::Hangups;
use super::{TlsError, note_expiry, resolving_config};
use crate::admin::Check;
use crate::backoff::Backoff;
use crate::data_dir::DataDir;
use crate::exit;
use crate::shutdown::Shutdown;
use challenge::Challenges;
use error::{CertificateFault, OrderError};
use http::Http;
use order::Orderer;
use stored::{Issued, StoredCertificate};

/// Longest time of one order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(300);

/// Longest pause after a failed order, before jitter.
const RETRY_MAX: Duration = Duration::from_secs(3600);

/// Pause when the authority limits the rate without saying for how long.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(3600);

/// How often the clock is looked at: it may be set, and machines sleep.
const LOOK: Duration = Duration::from_secs(600);

/// Of a failure's text, in characters: the authority writes it.
const FAILURE_MAX_CHARS: usize = 500;

/// The certificate of a listener, kept and renewed.
pub struct Acme {
    config: AcmeConfig,
    data_dir: Arc<DataDir>,
    http: Http,
    challenges: Challenges,
    current: ArcSwapOption<Issued>,
    /// Of the last order.
    failure: Mutex<Option<String>>,
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Acme");
        shown.field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why a wait ended.
#[derive(PartialEq, Eq)]
enum Wake {
    Elapsed,
    Asked,
    Stopping,
}

impl Acme {
    /// With the certificate of an earlier start, if that is for the same domains and good. Asks nobody for anything yet;
    /// blocks on the file system.
    ///
    /// # Errors
    /// [`AcmeOpenError`].
    pub fn open(config: AcmeConfig, data_dir: Arc<DataDir>) -> Result<Arc<Self>, AcmeOpenError> {
        let this = Self {
            http: Http::new(config.ca_file.as_deref())?,
            config,
            data_dir,
            challenges: Challenges::default(),
            current: ArcSwapOption::empty(),
            failure: Mutex::default(),
        };
        match this.kept() {
            Ok(Some(issued)) => {
                tracing::info!(domains = %this.config.domains, until = %issued.expires_at, "the kept certificate is used");
                this.serve(issued);
            }
            Ok(None) => {}
            Err(fault) => {
                let fault = exit::chain(&fault);
                tracing::warn!(fault, "the kept certificate cannot be used");
            }
        }
        Ok(Arc::new(this))
    }

    fn kept(&self) -> Result<Option<Issued>, CertificateFault> {
        let stored = StoredCertificate::load(&self.data_dir)?;
        stored
            .map(|stored| Issued::new(&stored, &self.config.domains, Timestamp::now()))
            .transpose()
    }

    /// Server configuration that always has the newest certificate, and answers the authority. While there is no
    /// certificate, handshakes end with the alert `access_denied`.
    ///
    /// # Errors
    /// [`TlsError::Provider`].
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        resolving_config(self.clone(), &[challenge::PROTOCOL])
    }

    /// Whether there is a certificate that clients can take.
    #[must_use]
    pub fn check(&self) -> Check {
        const NAME: &str = "certificate";
        let failure = self.lock_failure().clone();
        let why = failure.map_or_else(String::new, |failure| {
            format!("; the last order: {failure}")
        });
        match self.current.load().as_deref() {
            Some(issued) if issued.expires_at > Timestamp::now() => {
                Check::ok(NAME, format!("until {}{why}", issued.expires_at))
            }
            Some(issued) => Check::failing(NAME, format!("expired at {}{why}", issued.expires_at)),
            None => Check::failing(NAME, format!("there is none yet{why}")),
        }
    }

    /// Orders what is missing or due, one order at a time, until the shutdown begins. SIGHUP ends a pause between
    /// attempts, unless the authority asked for it.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn run(self: Arc<Self>, shutdown: Shutdown) -> impl Future<Output = ()> + Send + 'static {
        // Now: without a handler the signal ends the process.
        let mut hangups = Hangups::install();
        async move {
            let mut backoff = Backoff::new(self.config.retry_min, RETRY_MAX);
            loop {
                if let Some(wait) = self.until_due() {
                    let until = Instant::now() + wait.min(LOOK);
                    match pause(until, &mut hangups, &shutdown).await {
                        Wake::Stopping => return,
                        Wake::Elapsed | Wake::Asked => continue,
                    }
                }
                let ordered = tokio::select! {
                    biased;
                    () = shutdown.stopping() => return,
                    ordered = self.renew() => ordered,
                };
                let Err(error) = ordered else {
                    backoff.reset();
                    continue;
                };
                let asked_for = self
                    .http
                    .take_retry_after()
                    .or_else(|| error.is_rate_limit().then_some(RATE_LIMIT_PAUSE));
                let wait = backoff.next_delay().max(asked_for.unwrap_or_default());
                self.note(&error, wait);
                let until = Instant::now() + wait;
                loop {
                    match pause(until, &mut hangups, &shutdown).await {
                        Wake::Stopping => return,
                        Wake::Asked if asked_for.is_some() => {}
                        Wake::Asked | Wake::Elapsed => break,
                    }
                }
            }
        }
    }

    /// How long the certificate is good for yet; none: an order is due.
    fn until_due(&self) -> Option<Duration> {
        let current = self.current.load();
        let current = current.as_deref()?;
        if current.directory != self.config.directory {
            return None;
        }
        let left = current.renew_at.duration_since(Timestamp::now());
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }

    async fn renew(&self) -> Result<(), OrderError> {
        let (domains, directory) = (&self.config.domains, self.config.directory.as_str());
        tracing::info!(%domains, directory, "a certificate is ordered");
        // What it asked for before is over.
        self.http.take_retry_after();
        let orderer = Orderer {
            config: &self.config,
            data_dir: &self.data_dir,
            http: &self.http,
            challenges: &self.challenges,
        };
        let stored = tokio::time::timeout(ORDER_TIMEOUT, orderer.order()).await;
        let stored = stored.map_err(|_| OrderError::TimedOut)??;
        let issued =
            Issued::fresh(&stored, domains, Timestamp::now()).map_err(OrderError::Issued)?;
        tracing::info!(%domains, until = %issued.expires_at, renewal = %issued.renew_at, "a certificate was issued");
        metrics::counter!("signalbox_acme_orders_total", "outcome" => "issued").increment(1);
        *self.lock_failure() = None;
        self.serve(issued);
        if let Err(error) = stored.save(&self.data_dir).await {
            let error = exit::chain(&error);
            tracing::warn!(error, "the certificate cannot be kept for the next start");
        }
        Ok(())
    }

    fn serve(&self, issued: Issued) {
        note_expiry(&issued.pair.cert);
        self.current.store(Some(Arc::new(issued)));
    }

    fn note(&self, error: &OrderError, wait: Duration) {
        let outcome = error.outcome();
        metrics::counter!("signalbox_acme_orders_total", "outcome" => outcome).increment(1);
        let error: String = exit::chain(error).chars().take(FAILURE_MAX_CHARS).collect();
        let (domains, wait_s) = (&self.config.domains, wait.as_secs());
        tracing::warn!(%domains, outcome, error, wait_s, "no certificate was issued; it is tried again");
        *self.lock_failure() = Some(error);
    }

    fn lock_failure(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Acme {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if Challenges::is_asked(&hello) {
            return self.challenges.answer(&hello);
        }
        Some(self.current.load().as_ref()?.pair.clone())
    }
}

async fn pause(until: Instant, hangups: &mut Hangups, shutdown: &Shutdown) -> Wake {
    tokio::select! {
        biased;
        () = shutdown.stopping() => Wake::Stopping,
        () = hangups.next() => Wake::Asked,
        () = tokio::time::sleep_until(until) => Wake::Elapsed,
    }
}

#[cfg(test)]
mod tests;
