//! One control plane, and the channel to it.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

use crate::{ClientConfig, ConfigError};

/// A client's certificate chain, leaf first, and its private key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A control plane. Where files say what its connections are made with, new connections go by what is in the files now.
#[derive(Debug)]
pub(crate) struct Connection {
    /// None: there are no files.
    files: Option<Files>,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Files {
    endpoint: String,
    config: ClientConfig,
}

#[derive(Debug)]
struct Current {
    /// What was last tried.
    pem: Pem,
    channel: Channel,
}

impl Connection {
    /// Opens nothing yet.
    pub(crate) fn open(text: &str, config: &ClientConfig) -> Result<Self, ConfigError> {
        let pem = Pem::read(config)?;
        let channel = endpoint(text, config, &pem)?.connect_lazy();
        let files = (!pem.is_empty()).then(|| Files {
            endpoint: text.to_owned(),
            config: config.clone(),
        });
        let current = Mutex::new(Current { pem, channel });
        Ok(Self { files, current })
    }

    /// Over a channel that is there.
    pub(crate) fn over(channel: Channel) -> Self {
        let pem = Pem::default();
        Self {
            files: None,
            current: Mutex::new(Current { pem, channel }),
        }
    }

    /// The channel; another one when the files have changed. What they hold now may be half of what they are to hold: the channel
    /// from before stays then.
    pub(crate) fn channel(&self) -> Channel {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Files {
            endpoint: text,
            config,
        }) = &self.files
            && let Ok(pem) = Pem::read(config)
            && pem != current.pem
        {
            if let Ok(endpoint) = endpoint(text, config, &pem) {
                current.channel = endpoint.connect_lazy();
            }
            current.pem = pem;
        }
        current.channel.clone()
    }
}

/// What is in the files.
#[derive(Default, PartialEq, Eq)]
struct Pem {
    ca: Option<Vec<u8>>,
    /// Chain and key.
    identity: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pem(…)")
    }
}

impl Pem {
    fn read(config: &ClientConfig) -> Result<Self, ConfigError> {
        let ca = config.ca_file.as_deref().map(|path| {
            std::fs::read(path).map_err(|error| ConfigError::CaFile(path.to_owned(), error))
        });
        let identity = config.certificate.as_ref().map(|files| {
            let read = |path: &Path| {
                std::fs::read(path)
                    .map_err(|error| ConfigError::CertificateFile(path.to_owned(), error))
            };
            Ok((read(&files.cert)?, Zeroizing::new(read(&files.key)?)))
        });
        Ok(Self {
            ca: ca.transpose()?,
            identity: identity.transpose()?,
        })
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a channel connects to, and how.
pub(crate) fn plain_endpoint(text: &str, config: &ClientConfig) -> Result<Endpoint, ConfigError> {
    endpoint(text, config, &Pem::read(config)?)
}

fn endpoint(text: &str, config: &ClientConfig, pem: &Pem) -> Result<Endpoint, ConfigError> {
    let wrong = || ConfigError::Endpoint(text.to_owned());
    let mut endpoint = Endpoint::from_shared(text.to_owned())
        .map_err(|_| wrong())?
        .connect_timeout(config.connect_timeout)
        .tcp_nodelay(true)
        // A peer that vanished without a word is noticed within 15 s.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    let is_tls = match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
        (Some("http"), Some(_)) => false,
        (Some("https"), Some(_)) => true,
        _ => return Err(wrong()),
    };
    if is_tls {
        let mut tls = ClientTlsConfig::new();
        tls = match &pem.ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(ca)),
            None => tls.with_enabled_roots(),
        };
        if let Some((chain, key)) = &pem.identity {
            tls = tls.identity(Identity::from_pem(chain, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(ConfigError::Tls)?;
    }
    Ok(endpoint)
}
