//! A certificate, its key, and the authorities of clients' certificates that are exchanged while connections are served.
//!
//! The files are read every few seconds and compared by content, not watched: what renews certificates replaces files,
//! swaps symbolic links (Kubernetes) or writes to a network's file system, and a watcher misses one or another of these.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::clients::{self, Clients};
use super::hangups::Hangups;
use super::{ServerFiles, TlsError, certified_key, listener_config, note_expiry, read};
use crate::shutdown::Shutdown;

/// How often the files are looked at.
pub const PERIOD: Duration = Duration::from_secs(5);

/// The newest usable content of a listener's files: new handshakes get it, connections that stand go on with theirs.
#[derive(Debug)]
pub struct ReloadedFiles {
    files: ServerFiles,
    pair: ArcSwap<CertifiedKey>,
    /// Whom to let in, where clients need a certificate.
    clients: Option<Arc<Clients>>,
    /// What was last read, so that each content is tried, and complained of, once.
    seen: Mutex<Seen>,
}

#[derive(PartialEq, Eq)]
enum Seen {
    Contents(Contents),
    Unreadable,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seen(…)")
    }
}

/// What is in the files.
#[derive(PartialEq, Eq)]
struct Contents {
    chain: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
}

impl Contents {
    fn read(files: &ServerFiles) -> Result<Self, TlsError> {
        Ok(Self {
            chain: read(&files.cert)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn pair(&self, files: &ServerFiles) -> Result<CertifiedKey, TlsError> {
        certified_key(&files.cert, &self.chain, &files.key, &self.key)
    }

    fn verifier(
        &self,
        files: &ServerFiles,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let ca = files.client_ca.as_deref().zip(self.client_ca.as_ref());
        ca.map(|(path, pem)| clients::verifier(path, pem))
            .transpose()
    }
}

/// What a look at the files led to.
#[derive(Debug)]
enum Look {
    Unchanged,
    Exchanged,
    Refused(TlsError),
}

impl ReloadedFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it, also when the key is not that of the certificate.
    pub fn open(files: ServerFiles) -> Result<Arc<Self>, TlsError> {
        let contents = Contents::read(&files)?;
        let pair = contents.pair(&files)?;
        let verifier = contents.verifier(&files)?;
        note_expiry(&pair.cert);
        Ok(Arc::new(Self {
            files,
            pair: ArcSwap::from_pointee(pair),
            clients: verifier.map(|verifier| Arc::new(Clients::new(verifier))),
            seen: Mutex::new(Seen::Contents(contents)),
        }))
    }

    /// Server configuration that always goes by the newest content. Where clients need a certificate, each handshake verifies it:
    /// sessions are not resumed.
    ///
    /// # Errors
    /// [`TlsError::Provider`].
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        listener_config(self.clone(), self.clients.clone(), &[])
    }

    /// Looks at the files every `period`, and at once on SIGHUP, until the shutdown begins. What cannot be used is
    /// warned of, and what was before it stays.
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
        let (now, failed) = match Contents::read(&self.files) {
            Ok(contents) => (Seen::Contents(contents), None),
            Err(error) => (Seen::Unreadable, Some(error)),
        };
        if *seen == now && !again {
            return Look::Unchanged;
        }
        *seen = now;
        let Seen::Contents(contents) = &*seen else {
            return failed.map_or(Look::Unchanged, Look::Refused);
        };
        match self.exchange(contents) {
            Ok(()) => Look::Exchanged,
            Err(error) => Look::Refused(error),
        }
    }

    /// All of it, or nothing.
    fn exchange(&self, contents: &Contents) -> Result<(), TlsError> {
        let pair = contents.pair(&self.files)?;
        let verifier = contents.verifier(&self.files)?;
        note_expiry(&pair.cert);
        if let (Some(clients), Some(verifier)) = (&self.clients, verifier) {
            clients.exchange(verifier);
        }
        self.pair.store(Arc::new(pair));
        Ok(())
    }

    fn note(&self, look: &Look, asked: bool) {
        let outcome = match look {
            Look::Unchanged => return,
            Look::Exchanged => {
                tracing::info!(chain = ?self.files.cert, asked, "the TLS files were read anew");
                "reloaded"
            }
            Look::Refused(error) => {
                let error = crate::exit::chain(error);
                tracing::warn!(
                    error,
                    asked,
                    "the new TLS files cannot be used; the old ones stay"
                );
                "refused"
            }
        };
        metrics::counter!("signalbox_tls_reloads_total", "outcome" => outcome).increment(1);
    }
}

impl ResolvesServerCert for ReloadedFiles {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.pair.load_full())
    }
}
