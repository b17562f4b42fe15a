//! Automatic certificates: the data plane with a real ACME server, and clients that take nothing on trust.

use std::{io, net::SocketAddr, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use signalbox_tests::{
    api::Api,
    pebble::{Options, Pebble},
    planes::{self, DataPlane, Planes, install_crypto},
    wait,
};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::local_stack::synced;

const DOMAIN: &str = "hooks.example.test";
const SECOND: &str = "second.example.test";
const LIMIT: Duration = Duration::from_secs(60);

const SPEC: &str = "
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: only
    transform:
      expression: event.message
";

/// Both planes, not started; the data plane is to ask `pebble` for a certificate.
fn planes(pebble: &Pebble) -> Planes {
    let mut planes = Planes::new(planes::Options::default());
    planes.data.add_args([
        "--acme-domain",
        DOMAIN,
        "--acme-contact",
        "ops@example.test",
        "--acme-accept-terms",
        "--acme-directory",
        &pebble.directory(),
        "--acme-ca",
        pebble.ca_file().to_str().unwrap(),
        "--acme-retry-min-s",
        "1",
    ]);
    planes
}

/// The control plane running, the data plane on its way.
async fn begin(planes: &mut Planes) -> Api {
    planes.control.start().await;
    planes.write_node_token();
    planes.data.spawn();
    planes.api("admin")
}

/// Waits until the check `certificate` is as `wanted` says of it and its detail.
async fn certificate(data: &DataPlane, what: &str, wanted: impl Fn(bool, &str) -> bool) {
    wait::until(what, LIMIT, || async {
        let (ok, detail) = data.check("certificate").await?;
        match wanted(ok, &detail) {
            true => Ok(()),
            false => Err(format!("{ok}: {detail}")),
        }
    })
    .await;
}

/// Waits until the metric has counted an order with `outcome`.
async fn ordered(data: &DataPlane, outcome: &str, at_least: u32) {
    let name = format!("signalbox_acme_orders_total{{outcome=\"{outcome}\"}} ");
    wait::until(&name, LIMIT, || async {
        let metrics = data.metrics().await;
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
        match count.and_then(|count| count.parse().ok()) {
            Some(count) if at_least <= count => Ok(()),
            _ => Err(format!("{count:?}")),
        }
    })
    .await;
}

fn client(roots: &RootCertStore, protocols: &[&[u8]]) -> ClientConfig {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // Whole handshakes: each shows the certificate.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

async fn handshake(
    addr: SocketAddr,
    name: &'static str,
    config: ClientConfig,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from(name).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The certificate that is shown to a client that trusts `roots` and asks for `name`.
async fn leaf(
    addr: SocketAddr,
    name: &'static str,
    roots: &RootCertStore,
) -> CertificateDer<'static> {
    let stream = handshake(addr, name, client(roots, &[b"http/1.1"])).await;
    let stream = stream.unwrap_or_else(|error| panic!("{name}: {error}"));
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

/// Posts to a webhook over `protocol`; gives the status.
async fn post(planes: &Planes, key: &str, roots: &RootCertStore, protocol: &[u8]) -> u16 {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(client(roots, &[protocol]))
        .resolve(DOMAIN, planes.data.addr())
        .build()
        .unwrap();
    let url = planes.endpoint("hook", "webhook", key);
    let url = url.replacen("http://127.0.0.1", &format!("https://{DOMAIN}"), 1);
    let answer = client.post(url).json(&serde_json::json!({"a": 1})).send();
    let answer = answer.await.unwrap();
    let spoken = match protocol {
        b"h2" => http::Version::HTTP_2,
        _ => http::Version::HTTP_11,
    };
    assert_eq!(answer.version(), spoken);
    answer.status().as_u16()
}

/// A connection that stays.
struct Open {
    leaf: CertificateDer<'static>,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Open {
    async fn to(addr: SocketAddr, roots: &RootCertStore) -> Self {
        let stream = handshake(addr, DOMAIN, client(roots, &[b"http/1.1"])).await;
        let stream = stream.unwrap();
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { leaf, sender }
    }

    async fn is_answered(&mut self) {
        self.sender.ready().await.unwrap();
        let request = Request::get("/").header("host", DOMAIN);
        let request = request.body(Full::default()).unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 404);
        answer.into_body().collect().await.unwrap();
    }
}

/// Neither the account's key nor the certificate's is in what the node printed; both are its owner's alone to read.
fn kept_secret(data: &DataPlane) {
    let read = |name: &str| -> serde_json::Value {
        let file = data.data_dir.join(name);
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    };
    let account = read("acme-account.json");
    let account_key = account["credentials"]["key_pkcs8"].as_str().unwrap();
    let certificate = read("acme-certificate.json");
    let key: Vec<_> = certificate["key"].as_str().unwrap().lines().collect();
    let log = data.log();
    for secret in [account_key, key[1], key[2]] {
        assert!(secret.len() > 10, "{secret}");
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_gets_a_certificate_by_itself_and_keeps_it() {
    install_crypto();
    let mut pebble = Pebble::new();
    let mut planes = planes(&pebble);
    let addr = planes.data.addr();
    let api = begin(&mut planes).await;

    // There is no authority to be reached, so there is no certificate, and handshakes are told so.
    certificate(&planes.data, "the first failure", |ok, detail| {
        !ok && detail.contains("there is none yet; the last order:")
    })
    .await;
    for protocols in [&[&b"h2"[..], b"http/1.1"][..], &[b"acme-tls/1"]] {
        let refused = handshake(addr, DOMAIN, client(&RootCertStore::empty(), protocols)).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("AccessDenied"), "{refused}");
    }
    assert!(
        planes
            .data
            .log()
            .contains("no certificate was issued; it is tried again")
    );

    pebble.start(&Options::at(addr.port())).await;
    planes.data.ready().await;
    let roots = pebble.roots().await;
    let key = api.create_key("sender").await;
    api.create_workflow("hook", SPEC).await;
    synced(&api).await;
    assert_eq!(post(&planes, &key, &roots, b"h2").await, 200);
    assert_eq!(post(&planes, &key, &roots, b"http/1.1").await, 200);
    // The order is over: an authority, or who plays one, gets no answer any more.
    let refused = handshake(addr, DOMAIN, client(&roots, &[b"acme-tls/1"])).await;
    assert!(refused.unwrap_err().to_string().contains("AccessDenied"));
    let metrics = planes.data.metrics().await;
    for line in [
        "signalbox_acme_orders_total{outcome=\"issued\"} 1",
        "signalbox_tls_certificate_expiry_timestamp_seconds ",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    kept_secret(&planes.data);

    // The next start needs no authority.
    let first = leaf(addr, DOMAIN, &roots).await;
    assert_eq!(pebble.orders(), 1);
    restart(&mut planes.data);
    planes.data.ready().await;
    assert_eq!(leaf(addr, DOMAIN, &roots).await, first);
    assert_eq!(post(&planes, &key, &roots, b"h2").await, 200);
    assert!(
        !planes
            .data
            .metrics()
            .await
            .contains("signalbox_acme_orders_total")
    );
    assert_eq!(pebble.orders(), 1);

    // For other domains it is no certificate; the account is still good.
    planes.data.add_args(["--acme-domain", SECOND]);
    restart(&mut planes.data);
    planes.data.ready().await;
    assert_eq!(pebble.orders(), 2);
    let log = planes.data.log();
    assert!(log.contains(&format!("it is for {DOMAIN}")), "{log}");
    assert_eq!(log.matches("an ACME account was made").count(), 1, "{log}");
    let second = leaf(addr, DOMAIN, &roots).await;
    assert_ne!(second, first);
    assert_eq!(leaf(addr, SECOND, &roots).await, second);
    kept_secret(&planes.data);
}

/// An orderly end, in time although there is an order to wait for, and another start.
fn restart(data: &mut DataPlane) {
    let status = tokio::task::block_in_place(|| data.process().terminate(Duration::from_secs(20)));
    assert_eq!(status.code(), Some(0));
    data.kill();
    data.spawn();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_leaves_connections_alone_and_a_failed_one_the_certificate() {
    install_crypto();
    let mut pebble = Pebble::new();
    let mut planes = planes(&pebble);
    let addr = planes.data.addr();
    // Two thirds are 16 s; the rest is the time to see the old one outlive a failure.
    let options = Options {
        validity_s: Some(24),
        ..Options::at(addr.port())
    };
    pebble.start(&options).await;
    begin(&mut planes).await;
    planes.data.ready().await;
    let roots = pebble.roots().await;
    let open = Mutex::new(Open::to(addr, &roots).await);
    wait::until("the renewal", LIMIT, || async {
        let mut open = open.lock().await;
        open.is_answered().await;
        match leaf(addr, DOMAIN, &roots).await == open.leaf {
            false => Ok(()),
            true => Err("the first certificate".to_owned()),
        }
    })
    .await;
    open.lock().await.is_answered().await;

    let renewed = leaf(addr, DOMAIN, &roots).await;
    pebble.stop();
    ordered(&planes.data, "failed", 1).await;
    assert_eq!(leaf(addr, DOMAIN, &roots).await, renewed);
    certificate(&planes.data, "a note of the failure", |ok, detail| {
        ok && detail.contains("; the last order: ")
    })
    .await;
    // Until it is no certificate any more.
    certificate(&planes.data, "the end of the validity", |ok, detail| {
        !ok && detail.starts_with("expired at ")
    })
    .await;
    restart(&mut planes.data);
    certificate(
        &planes.data,
        "the expired one to be put aside",
        |ok, detail| !ok && detail.starts_with("there is none yet"),
    )
    .await;
    kept_secret(&planes.data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_and_asked_again() {
    install_crypto();
    let mut pebble = Pebble::new();
    let mut planes = planes(&pebble);
    // The domain leads it to where nobody answers.
    let elsewhere = signalbox_tests::process::free_port();
    pebble.start(&Options::at(elsewhere)).await;
    begin(&mut planes).await;
    ordered(&planes.data, "refused", 2).await;
    let (ok, detail) = planes.data.check("certificate").await.unwrap();
    assert!(!ok);
    let why = format!("the authority did not find {DOMAIN} to be here: ");
    assert!(detail.contains(&why), "{detail}");
    let log = planes.data.log();
    assert!(log.contains(&why), "{log}");
    assert!(
        log.contains("no certificate was issued; it is tried again"),
        "{log}"
    );
    assert_eq!(log.matches("an ACME account was made").count(), 1, "{log}");

    // An authority that has forgotten the account, too.
    pebble.stop();
    pebble.start(&Options::at(planes.data.addr().port())).await;
    planes.data.ready().await;
    let log = planes.data.log();
    assert!(
        log.contains("the authority does not know the account"),
        "{log}"
    );
    leaf(planes.data.addr(), DOMAIN, &pebble.roots().await).await;
    kept_secret(&planes.data);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_bound_to_an_external_one_and_lost_nonces_are_made_up_for() {
    const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    install_crypto();
    let mut pebble = Pebble::new();
    let mut planes = planes(&pebble);
    let options = Options {
        external_account: Some(("kid-1", HMAC)),
        nonces_refused_percent: 25,
        ..Options::at(planes.data.addr().port())
    };
    pebble.start(&options).await;
    begin(&mut planes).await;
    certificate(&planes.data, "the demand", |ok, detail| {
        !ok && detail.contains("externalAccountRequired")
    })
    .await;

    let file = planes.dir().join("hmac");
    std::fs::write(&file, format!("{HMAC}\n")).unwrap();
    let file = file.to_str().unwrap();
    planes
        .data
        .add_args(["--acme-eab-kid", "kid-1", "--acme-eab-hmac-file", file]);
    restart(&mut planes.data);
    planes.data.ready().await;
    leaf(planes.data.addr(), DOMAIN, &pebble.roots().await).await;
    assert!(!planes.data.log().contains(HMAC));
    kept_secret(&planes.data);
}
