//! Who may connect to a listener whose clients need a certificate, by real handshakes.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use signalbox_runtime::exit;
use signalbox_runtime::shutdown::Shutdown;
use signalbox_runtime::tls::{self, ReloadedFiles, ServerFiles};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const OFTEN: Duration = Duration::from_millis(10);

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A client's certificate for `purpose`, until `end` (a year).
struct Issued {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

fn issue(ca: &Ca, purpose: ExtendedKeyUsagePurpose, end: i32) -> Issued {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["gateway".to_owned()]).unwrap();
    params.extended_key_usages = vec![purpose];
    params.not_after = rcgen::date_time_ymd(end, 1, 1);
    let certificate = params.signed_by(&key, ca).unwrap();
    Issued { certificate, key }
}

fn client(ca: &Ca) -> Issued {
    issue(ca, ExtendedKeyUsagePurpose::ClientAuth, 4096)
}

struct Listener {
    files: ServerFiles,
    dir: tempfile::TempDir,
}

impl Listener {
    /// For `localhost`; lets in whom `clients` vouches for.
    fn new(clients: &Ca) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let write = |name: &str, text: String| -> PathBuf {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let files = ServerFiles {
            cert: write("tls.crt", own.cert.pem()),
            key: write("tls.key", own.signing_key.serialize_pem()),
            client_ca: Some(write("clients.pem", clients.pem())),
        };
        Self { files, dir }
    }

    fn client_ca(&self) -> &Path {
        self.files.client_ca.as_deref().unwrap()
    }

    /// A client's configuration; the same one resumes its sessions where it may.
    fn trusting(
        &self,
        version: &'static SupportedProtocolVersion,
        issued: Option<&Issued>,
    ) -> Arc<ClientConfig> {
        let roots = tls::root_store(Some(&self.files.cert)).unwrap();
        let builder =
            ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
        Arc::new(match issued {
            None => builder.with_no_client_auth(),
            Some(Issued { certificate, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder
                    .with_client_auth_cert(vec![certificate.der().clone()], key)
                    .unwrap()
            }
        })
    }
}

/// Whether a client gets an answer; what the server says else.
async fn answered(server: &Arc<ServerConfig>, client: Arc<ClientConfig>) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let acceptor = TlsAcceptor::from(server.clone());
    let serving = tokio::spawn(async move {
        let mut stream = acceptor
            .accept(far)
            .await
            .map_err(|error| error.to_string())?;
        stream.write_all(b"x").await.unwrap();
        // The client may be gone already.
        let _ = stream.shutdown().await;
        Ok::<_, String>(())
    });
    let name = ServerName::try_from("localhost").unwrap();
    let mut answer = Vec::new();
    // By TLS 1.3, a client learns only afterwards that it is refused.
    if let Ok(mut stream) = TlsConnector::from(client).connect(name, near).await {
        let _ = stream.read_to_end(&mut answer).await;
    }
    serving.await.unwrap()?;
    assert_eq!(answer, b"x");
    Ok(())
}

#[tokio::test]
async fn whoever_the_authority_vouches_for_is_let_in_and_nobody_else() {
    tls::install_crypto_provider();
    let (own, other) = (ca(), ca());
    let listener = Listener::new(&own);
    let files = ReloadedFiles::open(listener.files.clone()).unwrap();
    let server = files.server_config().unwrap();
    let good = client(&own);
    let wrong = [
        // An authority of the same name, too.
        (client(&other), "BadSignature"),
        (
            issue(&own, ExtendedKeyUsagePurpose::ServerAuth, 4096),
            "does not allow extended key usage for client authentication",
        ),
        (
            issue(&own, ExtendedKeyUsagePurpose::ClientAuth, 2001),
            "certificate expired",
        ),
    ];
    for version in [&TLS12, &TLS13] {
        let trusting = |issued| listener.trusting(version, issued);
        answered(&server, trusting(Some(&good))).await.unwrap();
        let none = answered(&server, trusting(None)).await.unwrap_err();
        assert!(none.contains("peer sent no certificates"), "{none}");
        for (issued, why) in &wrong {
            let refused = answered(&server, trusting(Some(issued))).await.unwrap_err();
            assert!(refused.contains(why), "{version:?}: {refused}");
        }
    }
}

#[tokio::test]
async fn authorities_are_exchanged_while_connections_are_served() {
    tls::install_crypto_provider();
    let (old, new) = (ca(), ca());
    let listener = Listener::new(&old);
    let files = ReloadedFiles::open(listener.files.clone()).unwrap();
    let server = files.server_config().unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(files.watch(OFTEN, shutdown.clone()));
    let (of_old, of_new) = (client(&old), client(&new));
    for version in [&TLS12, &TLS13] {
        fs::write(listener.client_ca(), old.pem()).unwrap();
        // One configuration each: a session that could be resumed would not be verified anew.
        let of_old = listener.trusting(version, Some(&of_old));
        let of_new = listener.trusting(version, Some(&of_new));
        until(&server, &of_old, true).await;
        until(&server, &of_new, false).await;

        let temporary = listener.dir.path().join("next");
        fs::write(&temporary, new.pem()).unwrap();
        fs::rename(temporary, listener.client_ca()).unwrap();
        until(&server, &of_new, true).await;
        until(&server, &of_old, false).await;

        // What is no authority changes nothing.
        fs::write(listener.client_ca(), "nothing").unwrap();
        for _ in 0..10 {
            tokio::time::sleep(OFTEN).await;
            answered(&server, of_new.clone()).await.unwrap();
        }
    }
    shutdown.drain(Duration::from_secs(10)).await;
}

async fn until(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, wanted: bool) {
    let start = Instant::now();
    loop {
        let answer = answered(server, client.clone()).await;
        if answer.is_ok() == wanted {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{answer:?}");
        tokio::time::sleep(OFTEN).await;
    }
}

#[test]
fn a_file_without_authorities_is_refused_at_the_start() {
    let listener = Listener::new(&ca());
    fs::write(listener.client_ca(), "-----BEGIN NOTHING-----").unwrap();
    let error = ReloadedFiles::open(listener.files.clone()).unwrap_err();
    let line = exit::chain(&error);
    assert!(line.contains("clients.pem"), "{line}");
    fs::remove_file(listener.client_ca()).unwrap();
    let error = ReloadedFiles::open(listener.files).unwrap_err();
    let line = exit::chain(&error);
    assert!(
        line.contains("clients.pem") && line.contains("cannot be read"),
        "{line}"
    );
}
