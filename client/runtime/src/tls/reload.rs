//! A certificate and its key that are exchanged while connections are served.
//!
//! The files are read every few seconds and compared by content, not watched: what renews certificates replaces files,
//! swaps symbolic links (Kubernetes) or writes to a network's file system, and a watcher misses one or another of these.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::hangups::Hangups;
use super::{TlsError, certified_key, note_expiry, read, resolving_config};
use crate::shutdown::Shutdown;

/// How often the files are looked at.
pub const PERIOD: Duration = Duration::from_secs(5);

/// The newest usable pair of two files: new handshakes get it, connections that stand go on with theirs.
#[derive(Debug)]
pub struct ReloadedPair {
    chain_file: PathBuf,
    key_file: PathBuf,
    current: ArcSwap<CertifiedKey>,
    /// What was last read, so that each content is tried, and complained of, once.
    seen: Mutex<Seen>,
}

#[derive(PartialEq, Eq)]
enum Seen {
    Contents(Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>),
    Unreadable,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seen(…)")
    }
}

/// What a look at the files led to.
#[derive(Debug)]
enum Look {
    Unchanged,
    Exchanged,
    Refused(TlsError),
}

impl ReloadedPair {
    /// Reads the pair, both PEM, the chain's leaf first.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it, also when the key is not that of the certificate.
    pub fn open(chain_file: &Path, key_file: &Path) -> Result<Arc<Self>, TlsError> {
        let (chain, key) = (read(chain_file)?, read(key_file)?);
        let pair = certified_key(chain_file, &chain, key_file, &key)?;
        note_expiry(&pair.cert);
        Ok(Arc::new(Self {
            chain_file: chain_file.to_owned(),
            key_file: key_file.to_owned(),
            current: ArcSwap::from_pointee(pair),
            seen: Mutex::new(Seen::Contents(chain, key)),
        }))
    }

    /// Server configuration that always has the newest pair.
    ///
    /// # Errors
    /// [`TlsError::Provider`].
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        resolving_config(self.clone(), &[])
    }

    /// Looks at the files every `period`, and at once on SIGHUP, until the shutdown begins. A pair that cannot be used is
    /// warned of, and the one before it stays.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn watch(
        self: Arc<Self>,
        period: Duration,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Now, not at the first poll: without a handler the signal ends the process.
        let mut hangups = Hangups::install();
        async move {
            let mut every = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let asked = tokio::select! {
                    biased;
                    () = shutdown.stopping() => return,
                    () = hangups.next() => true,
                    _ = every.tick() => false,
                };
                let this = Arc::clone(&self);
                // A file system may keep a reader waiting.
                if let Ok(look) = tokio::task::spawn_blocking(move || this.look(asked)).await {
                    self.note(&look, asked);
                }
            }
        }
    }

    /// `again`: also what was tried before.
    fn look(&self, again: bool) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let contents = read(&self.chain_file).and_then(|chain| Ok((chain, read(&self.key_file)?)));
        let (now, failed) = match contents {
            Ok((chain, key)) => (Seen::Contents(chain, key), None),
            Err(error) => (Seen::Unreadable, Some(error)),
        };
        if *seen == now && !again {
            return Look::Unchanged;
        }
        *seen = now;
        let Seen::Contents(chain, key) = &*seen else {
            return failed.map_or(Look::Unchanged, Look::Refused);
        };
        match certified_key(&self.chain_file, chain, &self.key_file, key) {
            Ok(pair) => {
                note_expiry(&pair.cert);
                self.current.store(Arc::new(pair));
                Look::Exchanged
            }
            Err(error) => Look::Refused(error),
        }
    }

    fn note(&self, look: &Look, asked: bool) {
        let outcome = match look {
            Look::Unchanged => return,
            Look::Exchanged => {
                tracing::info!(chain = ?self.chain_file, asked, "certificate and key were read anew");
                "reloaded"
            }
            Look::Refused(error) => {
                let error = crate::exit::chain(error);
                tracing::warn!(
                    error,
                    asked,
                    "the new certificate and key cannot be used; the old ones stay"
                );
                "refused"
            }
        };
        metrics::counter!("signalbox_tls_reloads_total", "outcome" => outcome).increment(1);
    }
}

impl ResolvesServerCert for ReloadedPair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}
