//! TLS as it was, and as it should not be: refused, while good messages come over what is left.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, RootCertStore};
use signalbox_tests::{
    planes::{Options, install_crypto},
    wait,
};

use super::support::{Answer, Stage, Wire};

/// RFC 5246 §7.2.
const ALERT: u8 = 21;
const FATAL: u8 = 2;
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// A ClientHello without extensions (RFC 2246 §7.4.1.2): all that was needed before TLS 1.2.
fn client_hello(record: [u8; 2], version: [u8; 2], suites: &[u16]) -> Vec<u8> {
    let suites: Vec<u8> = suites
        .iter()
        .flat_map(|suite| suite.to_be_bytes())
        .collect();
    let length = u16::try_from(suites.len()).unwrap().to_be_bytes();
    let body = [&version[..], &[7; 32], &[0], &length, &suites, &[1, 0]].concat();
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    let handshake = [&[1], &length[1..], &body].concat();
    let length = u16::try_from(handshake.len()).unwrap().to_be_bytes();
    [&[22], &record[..], &length, &handshake].concat()
}

/// TLS_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
/// TLS_RSA_WITH_3DES_EDE_CBC_SHA: what there was with TLS 1.0.
const OLD: [u16; 4] = [0x002f, 0xc013, 0xc00a, 0x000a];
/// NULL, export, RC4, anonymous.
const WEAK: [u16; 6] = [0x0001, 0x0003, 0x0005, 0x0034, 0x0018, 0xc015];

/// Name, what is sent, and whether its sender must be told of the refusal.
fn hellos() -> Vec<(&'static str, Vec<u8>, bool)> {
    // RFC 6101 §E: the hello of SSL 2.0 that offers SSL 3.0.
    let ssl2 = [
        &[0x80, 0x2e, 1, 3, 0, 0, 3, 0, 0, 0, 32, 0, 0, 5][..],
        &[7; 33],
    ]
    .concat();
    vec![
        ("TLS 1.0", client_hello([3, 1], [3, 1], &OLD), true),
        ("TLS 1.1", client_hello([3, 1], [3, 2], &OLD), true),
        ("SSL 3.0", client_hello([3, 0], [3, 0], &OLD), false),
        ("SSL 2.0", ssl2, false),
        ("weak suites", client_hello([3, 1], [3, 3], &WEAK), true),
        ("no suites", client_hello([3, 1], [3, 3], &[]), false),
        (
            "HTTP in the clear",
            b"POST / HTTP/1.1\r\nhost: h\r\n\r\n".to_vec(),
            false,
        ),
        (
            "HTTP/2 in the clear",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            false,
        ),
        ("garbage", vec![0xff; 4096], false),
        (
            "a record without end",
            [&[22, 3, 1, 0xff, 0xff][..], &[1; 70_000]].concat(),
            false,
        ),
        (
            "a handshake message without end",
            [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff][..], &[0; 16_380]]
                .concat()
                .repeat(8),
            false,
        ),
        (
            "data before a handshake",
            vec![23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
            false,
        ),
    ]
}

fn certificate(dir: &Path) -> (Vec<String>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (dir.join("tls.pem"), dir.join("tls.key"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let args = [
        "--tls-cert",
        cert.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ];
    (args.map(str::to_owned).to_vec(), Arc::new(config))
}

/// Posts a message over TLS.
async fn deliver(stage: &Stage, tls: &Arc<ClientConfig>, id: &str) {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured((**tls).clone())
        .resolve("localhost", stage.addr())
        .timeout(Duration::from_secs(15))
        .build()
        .unwrap();
    let letter = stage.signing.notification(id);
    let url = format!(
        "https://localhost:{}{}",
        stage.addr().port(),
        stage.target()
    );
    let mut post = client.post(url).body(letter.body());
    for (name, value) in &letter.headers {
        post = post.header(name, value);
    }
    let answer = post.send().await.unwrap();
    let answer = Answer {
        status: answer.status().as_u16(),
        headers: Vec::new(),
        body: answer.text().await.unwrap(),
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    stage.know(&answer);
}

/// Asks for a renegotiation on an established connection of TLS 1.2, until the node has heard it. The client tells each
/// message in the file, the last ones when it ends: `>>>` what it sent, `<<<` what came.
async fn renegotiate(stage: &Stage, log: &Path) -> Child {
    let told = || std::fs::read_to_string(log).unwrap_or_default();
    let mut client = Command::new("openssl")
        .args([
            "s_client",
            "-tls1_2",
            "-msg",
            "-connect",
            &stage.addr().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(File::create(log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl, to play a client that renegotiates");
    let mut input = client.stdin.take().unwrap();
    let limit = Duration::from_secs(10);
    wait::until("the handshake", limit, || async {
        match told().contains("Verify return code") {
            true => Ok(()),
            false => Err(told()),
        }
    })
    .await;
    // A line that begins with R is the command; the next that is read on its own has the handshake begin.
    input.write_all(b"R\n").unwrap();
    wait::until("the refusal", limit, || {
        input.write_all(b"x\n").unwrap();
        async {
            match stage.planes.data.log().contains("NoRenegotiation") {
                true => Ok(()),
                false => Err(told()),
            }
        }
    })
    .await;
    client.stdin = Some(input);
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_broken_tls_is_refused() {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let (args, tls) = certificate(dir.path());
    let mut stage = Stage::with(Options {
        data_plane: args,
        ..Options::default()
    })
    .await;
    deliver(&stage, &tls, "before").await;
    for (name, hello, is_told) in hellos() {
        let mut wire = Wire::open(stage.addr()).await;
        wire.send(&hello).await;
        deliver(&stage, &tls, name).await;
        wire.finish().await;
        let said = wire.rest().await;
        assert!(said.len() < 100, "{name}: {said:?}");
        match said.as_slice() {
            [] => assert!(!is_told, "{name}"),
            // Never a ServerHello.
            [kind, _, _, _, _, level, found, ..] => {
                assert_eq!((*kind, *level), (ALERT, FATAL), "{name}: {said:?}");
                let told = [HANDSHAKE_FAILURE, PROTOCOL_VERSION].contains(found);
                assert!(told || !is_told, "{name}: {found}");
            }
            _ => panic!("{name}: {said:?}"),
        }
    }
    let log = dir.path().join("openssl.log");
    let mut client = renegotiate(&stage, &log).await;
    deliver(&stage, &tls, "after").await;
    stage.ran_what_it_knows().await;
    stage.kept_secret(&[]).await;
    // With the node goes the client's connection.
    let limit = Duration::from_secs(25);
    let status = tokio::task::block_in_place(|| stage.planes.data.process().terminate(limit));
    assert_eq!(status.code(), Some(0));
    client.wait().unwrap();
    let told = std::fs::read_to_string(log).unwrap();
    assert_eq!(told.matches(", ClientHello").count(), 2, "{told}");
    assert_eq!(told.matches(", ServerHello\n").count(), 1, "{told}");
}
