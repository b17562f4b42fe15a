//! Certificates that change on disk while connections are served, by real handshakes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use signalbox_runtime::shutdown::Shutdown;
use signalbox_runtime::tls::{self, ReloadedFiles, ServerFiles};
use signalbox_runtime::{exit, metrics};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const OFTEN: Duration = Duration::from_millis(10);
const NEVER: Duration = Duration::from_secs(3600);

/// The signal and the metrics belong to the process: who sends the one does not run beside who counts the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

struct Pair {
    chain: String,
    key: String,
    leaf: CertificateDer<'static>,
}

fn pair() -> Pair {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pair {
        chain: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        leaf: made.cert.der().clone(),
    }
}

/// Whole or not at all, so that each content is one that the test means.
fn replace(path: &Path, text: &str) {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text).unwrap();
    fs::rename(temporary, path).unwrap();
}

struct Folder {
    dir: TempDir,
    chain: PathBuf,
    key: PathBuf,
}

impl Folder {
    fn with(pair: &Pair) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (chain, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        replace(&chain, &pair.chain);
        replace(&key, &pair.key);
        Self { dir, chain, key }
    }

    fn files(&self) -> ServerFiles {
        ServerFiles {
            cert: self.chain.clone(),
            key: self.key.clone(),
            client_ca: None,
        }
    }
}

type Client = tokio_rustls::client::TlsStream<DuplexStream>;
type Server = tokio_rustls::server::TlsStream<DuplexStream>;

/// A handshake with a client that takes any of `trusted`.
async fn handshake(config: &Arc<ServerConfig>, trusted: &[&Pair]) -> (Client, Server) {
    let ca = tempfile::NamedTempFile::new().unwrap();
    let all: String = trusted.iter().map(|pair| pair.chain.as_str()).collect();
    fs::write(ca.path(), all).unwrap();
    let connector = TlsConnector::from(tls::client_config(Some(ca.path())).unwrap());
    let acceptor = TlsAcceptor::from(config.clone());
    let (near, far) = tokio::io::duplex(16 * 1024);
    let name = ServerName::try_from("localhost").unwrap();
    let (client, server) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    (client.unwrap(), server.unwrap())
}

fn leaf(client: &Client) -> CertificateDer<'static> {
    client.get_ref().1.peer_certificates().unwrap()[0].clone()
}

async fn eventually_serves(config: &Arc<ServerConfig>, trusted: &[&Pair], wanted: &Pair) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while leaf(&handshake(config, trusted).await.0) != wanted.leaf {
        assert!(Instant::now() < deadline, "the new pair is not served");
        tokio::time::sleep(OFTEN).await;
    }
}

async fn eventually_counted(line: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !metrics::render().contains(line) {
        assert!(
            Instant::now() < deadline,
            "{line} is not in\n{}",
            metrics::render()
        );
        tokio::time::sleep(OFTEN).await;
    }
}

#[tokio::test]
async fn a_new_pair_is_for_new_connections_and_a_broken_one_for_none() {
    let _alone = ALONE.lock().await;
    metrics::install().unwrap();
    let (old, new) = (pair(), pair());
    let both = [&old, &new];
    let folder = Folder::with(&old);
    let files = ReloadedFiles::open(folder.files()).unwrap();
    let config = files.server_config().unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(files.watch(OFTEN, shutdown.clone()));
    let (mut before, mut before_server) = handshake(&config, &both).await;
    assert_eq!(leaf(&before), old.leaf);

    // The certificate came, its key did not yet.
    replace(&folder.chain, &new.chain);
    eventually_counted("signalbox_tls_reloads_total{outcome=\"refused\"} 1").await;
    assert_eq!(leaf(&handshake(&config, &both).await.0), old.leaf);
    replace(&folder.key, &new.key);
    eventually_serves(&config, &both, &new).await;

    // The connection from before lives on.
    before_server.write_all(b"still here").await.unwrap();
    before_server.shutdown().await.unwrap();
    let mut text = String::new();
    before.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "still here");

    // Each content is complained of once, however often it is looked at; a file that is gone, too.
    fs::remove_file(&folder.key).unwrap();
    eventually_counted("signalbox_tls_reloads_total{outcome=\"refused\"} 2").await;
    for _ in 0..20 {
        tokio::time::sleep(OFTEN).await;
        assert_eq!(leaf(&handshake(&config, &both).await.0), new.leaf);
    }
    eventually_counted("signalbox_tls_reloads_total{outcome=\"refused\"} 2").await;
    eventually_counted("signalbox_tls_certificate_expiry_timestamp_seconds").await;
    shutdown.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn symbolic_links_are_followed_as_kubernetes_swaps_them() {
    let (old, new) = (pair(), pair());
    let folder = Folder::with(&old);
    let mount = folder.dir.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let version = |name: &str, pair: &Pair| {
        let dir = mount.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("tls.crt"), &pair.chain).unwrap();
        fs::write(dir.join("tls.key"), &pair.key).unwrap();
    };
    version("..v1", &old);
    version("..v2", &new);
    symlink("..v1", mount.join("..data")).unwrap();
    for file in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(file), mount.join(file)).unwrap();
    }
    let files = ReloadedFiles::open(ServerFiles {
        cert: mount.join("tls.crt"),
        key: mount.join("tls.key"),
        client_ca: None,
    })
    .unwrap();
    let config = files.server_config().unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(files.watch(OFTEN, shutdown.clone()));
    eventually_serves(&config, &[&old, &new], &old).await;
    symlink("..v2", mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    eventually_serves(&config, &[&old, &new], &new).await;
    shutdown.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn sighup_asks_for_it_at_once() {
    let _alone = ALONE.lock().await;
    let (old, new) = (pair(), pair());
    let folder = Folder::with(&old);
    let files = ReloadedFiles::open(folder.files()).unwrap();
    let config = files.server_config().unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(files.watch(NEVER, shutdown.clone()));
    eventually_serves(&config, &[&old, &new], &old).await;
    replace(&folder.chain, &new.chain);
    replace(&folder.key, &new.key);
    let kill = format!("kill -HUP {}", std::process::id());
    assert!(
        Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap()
            .success()
    );
    eventually_serves(&config, &[&old, &new], &new).await;
    shutdown.drain(Duration::from_secs(10)).await;
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_at_the_start() {
    let (one, other) = (pair(), pair());
    let folder = Folder::with(&one);
    fs::write(&folder.key, &other.key).unwrap();
    let error = ReloadedFiles::open(folder.files()).unwrap_err();
    let line = exit::chain(&error);
    assert!(line.contains("cannot be used together"), "{line}");
    assert!(!line.contains("BEGIN"), "{line}");
}
