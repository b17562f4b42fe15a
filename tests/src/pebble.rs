//! A real ACME server: Pebble, Let's Encrypt's own for tests, with a DNS server that finds every name on the loopback.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject as _};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    process::{Process, free_port},
    wait,
};

const START_LIMIT: Duration = Duration::from_secs(30);

/// What differs between tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it looks for the answer to a TLS-ALPN-01 challenge, in place of port 443.
    pub tls_port: u16,
    /// Lifetime of its certificates, in seconds; its own default is five years.
    pub validity_s: Option<u64>,
    /// Of good nonces, how many it refuses.
    pub nonces_refused_percent: u8,
    /// Key identifier and HMAC key (base64url) of the external account that it demands.
    pub external_account: Option<(&'static str, &'static str)>,
}

impl Options {
    /// An authority that issues to whoever listens at `tls_port`.
    #[must_use]
    pub fn at(tls_port: u16) -> Self {
        Self {
            tls_port,
            validity_s: None,
            nonces_refused_percent: 0,
            external_account: None,
        }
    }
}

/// An ACME server, running or not. It forgets everything, its root too, when it is stopped.
#[derive(Debug)]
pub struct Pebble {
    port: u16,
    management_port: u16,
    dns_port: u16,
    dir: TempDir,
    process: Option<Process>,
    _dns: Process,
}

impl Pebble {
    /// Not started yet: its directory and its CA file are known before.
    #[must_use]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        own_certificate(dir.path());
        let dns_port = free_port_of_both();
        let mut command = Command::new("pebble-challtestsrv");
        command
            .args(["-dns01", &format!("127.0.0.1:{dns_port}")])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &format!("127.0.0.1:{}", free_port())]);
        let dns = Process::start("Pebble's DNS", &dir.path().join("dns.log"), &mut command);
        Self {
            port: free_port(),
            management_port: free_port(),
            dns_port,
            dir,
            process: None,
            _dns: dns,
        }
    }

    /// Starts it and waits until it answers.
    pub async fn start(&mut self, options: &Options) {
        assert!(self.process.is_none());
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{}", self.port),
            "managementListenAddress": format!("127.0.0.1:{}", self.management_port),
            "certificate": self.file("tls.pem"),
            "privateKey": self.file("tls.key"),
            "httpPort": free_port(),
            "tlsPort": options.tls_port,
        });
        if let Some(validity_s) = options.validity_s {
            config["certificateValidityPeriod"] = validity_s.into();
        }
        if let Some((key_id, key)) = options.external_account {
            config["externalAccountBindingRequired"] = true.into();
            config["externalAccountMACKeys"] = json!({ key_id: key });
        }
        let file = self.file("pebble.json");
        std::fs::write(&file, json!({ "pebble": config }).to_string()).unwrap();
        let refused = options.nonces_refused_percent.to_string();
        let mut command = Command::new("pebble");
        command
            .arg("-config")
            .arg(file)
            .args(["-dnsserver", &format!("127.0.0.1:{}", self.dns_port)])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // Each order is validated: what an earlier one proved does not count.
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", refused);
        let process = Process::start("Pebble", &self.file("pebble.log"), &mut command);
        self.process = Some(process);
        wait::until("Pebble", START_LIMIT, || async {
            self.fetch_root().await.map(drop)
        })
        .await;
    }

    /// Ends it, without a word to anyone.
    pub fn stop(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Its directory (RFC 8555 §7.1.1).
    #[must_use]
    pub fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// PEM file of the authority that its own TLS certificate comes from.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The roots that lead to what it issues, of this run.
    pub async fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.fetch_root().await.unwrap()).unwrap();
        roots
    }

    /// Orders that it was asked for, over all its runs.
    #[must_use]
    pub fn orders(&self) -> usize {
        let log = std::fs::read_to_string(self.file("pebble.log")).unwrap_or_default();
        log.matches("POST /order-plz ").count()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn fetch_root(&self) -> Result<CertificateDer<'static>, String> {
        let ca = std::fs::read(self.ca_file()).unwrap();
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()])
            .build()
            .unwrap();
        let url = format!("https://127.0.0.1:{}/roots/0", self.management_port);
        let answer = client.get(url).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let pem = answer.bytes().await.map_err(|error| error.to_string())?;
        CertificateDer::from_pem_slice(&pem).map_err(|error| error.to_string())
    }
}

impl Default for Pebble {
    fn default() -> Self {
        Self::new()
    }
}

/// The server's own certificate, and the authority that clients of it must be told of.
fn own_certificate(dir: &Path) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("tls.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).unwrap();
}

/// DNS needs one number for TCP and UDP.
fn free_port_of_both() -> u16 {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = tcp.local_addr().unwrap().port();
        if std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
