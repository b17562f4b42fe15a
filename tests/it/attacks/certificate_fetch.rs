//! The origin of certificates misbehaves: what it serves is bounded, asked for once, and holds up no good message.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rcgen::{CertificateParams, DnType, KeyPair};
use signalbox_sns::signer::Signer;
use signalbox_tests::wait;

use super::support::{
    Case, Letter, Stage, TOPIC, exchange, exchange_from,
    origin::{Reply, path_of},
    stage::leaf,
};

/// Fetches under way at once, at most (`FETCHES_MAX`).
const FETCHES_MAX: usize = 16;
const FLOOD_BYTES: u64 = 100 * 1024 * 1024;

fn self_signed(key: &KeyPair) -> String {
    let mut params = CertificateParams::new(["sns.amazonaws.com".to_owned()]).unwrap();
    let names = &mut params.distinguished_name;
    names.push(DnType::CommonName, "sns.amazonaws.com");
    params.self_signed(key).unwrap().pem()
}

/// A self-signed certificate for a key that Rust's libraries rightly do not make.
const RSA_512: &str = include_str!("../../../data-plane/sns/tests/data/certificates/rsa-512.pem");

fn raw(head: &str, body: &str) -> Reply {
    let length = body.len();
    let text =
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    Reply::Raw(text.into_bytes())
}

/// Name, what is served, and the status and reason that a message gets for it.
type Misbehaviour = (&'static str, Reply, u16, &'static str);

/// What the origin serves, and what becomes of a message that names it.
fn misbehaviours(stage: &Stage) -> Vec<Misbehaviour> {
    let signer = &stage.signing.signer;
    let pem = |text: String| Reply::Body(text.into_bytes());
    let good = leaf(signer, (-1, 30));
    let elsewhere = stage.elsewhere.addr;
    let unavailable = (503, "certificate-unavailable");
    let redirect = |status: &str, to: &str| {
        (
            raw(&format!("{status}\r\nlocation: {to}"), &good),
            unavailable,
        )
    };
    let to_good = stage.origin.certificate_url();
    let own_key = KeyPair::try_from(signer.pkcs8()).unwrap();
    let stranger = Signer::generate().unwrap();
    let one_pem = (403, "certificate-not-one-pem");
    let all = [
        (
            "redirect elsewhere",
            redirect("302 Found", &format!("http://{elsewhere}/x.pem")),
        ),
        (
            "redirect to metadata",
            redirect("307 Temporary Redirect", "http://169.254.169.254/x.pem"),
        ),
        (
            "redirect for ever",
            redirect("308 Permanent Redirect", &to_good),
        ),
        (
            "100 MB, announced",
            (
                Reply::Flood {
                    bytes: FLOOD_BYTES,
                    announced: true,
                },
                unavailable,
            ),
        ),
        (
            "100 MB, unannounced",
            (
                Reply::Flood {
                    bytes: FLOOD_BYTES,
                    announced: false,
                },
                unavailable,
            ),
        ),
        ("a byte a second", (Reply::Drip, unavailable)),
        ("nothing", (Reply::Silence, unavailable)),
        ("no answer at all", (Reply::Raw(Vec::new()), unavailable)),
        (
            "no HTTP",
            (Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()), unavailable),
        ),
        (
            "a head without end",
            (
                Reply::Raw(format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1 << 20)).into_bytes()),
                unavailable,
            ),
        ),
        (
            "broken off",
            (
                Reply::Raw(
                    format!("HTTP/1.1 200 OK\r\ncontent-length: 9000\r\n\r\n{good}").into_bytes(),
                ),
                unavailable,
            ),
        ),
        ("not found", (raw("404 Not Found", &good), unavailable)),
        ("forbidden", (raw("403 Forbidden", ""), unavailable)),
        (
            "failing",
            (raw("500 Internal Server Error", &good), unavailable),
        ),
        ("partial", (raw("206 Partial Content", &good), unavailable)),
        ("garbage", (Reply::Body(vec![0xff; 1000]), one_pem)),
        ("a page", (pem("<html>maintenance</html>".into()), one_pem)),
        ("empty", (pem(String::new()), one_pem)),
        (
            "a chain",
            (pem(format!("{good}{}", leaf(signer, (-1, 30)))), one_pem),
        ),
        ("a private key", (pem(own_key.serialize_pem()), one_pem)),
        (
            "compressed, it says",
            (raw("200 OK\r\ncontent-encoding: gzip", "no gzip"), one_pem),
        ),
        (
            "expired",
            (pem(leaf(signer, (-30, -2))), (403, "certificate-expired")),
        ),
        (
            "not yet valid",
            (
                pem(leaf(signer, (2, 30))),
                (403, "certificate-not-yet-valid"),
            ),
        ),
        (
            "not RSA",
            (
                pem(self_signed(&KeyPair::generate().unwrap())),
                (403, "certificate-not-rsa"),
            ),
        ),
        (
            "RSA of 512 bits",
            (pem(RSA_512.into()), (403, "certificate-key-size")),
        ),
        (
            "another's",
            (pem(leaf(&stranger, (-1, 30))), (403, "signature-invalid")),
        ),
        (
            "another's, self-signed",
            (
                pem(self_signed(&KeyPair::try_from(stranger.pkcs8()).unwrap())),
                (403, "signature-invalid"),
            ),
        ),
    ];
    all.into_iter()
        .map(|(name, (reply, (status, reason)))| (name, reply, status, reason))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_misbehaves_proves_nothing() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let mut replies = HashMap::new();
    let mut cases = Vec::new();
    for (number, (name, reply, status, reason)) in (100..).zip(misbehaviours(&stage)) {
        replies.insert(path_of(number), reply);
        let id = format!("certificate-{number}");
        let url = stage.origin.url(&path_of(number));
        let letter = stage.signing.notification(&id).with("SigningCertURL", &url);
        cases.push(Case::new(name, stage.post(&letter), status, reason).shows(&id, TOPIC));
    }
    let paths: Vec<String> = replies.keys().cloned().collect();
    stage.origin.route(move |path| replies.get(path).cloned());
    stage.judge(&cases, flow).await;
    for path in paths {
        assert_eq!(stage.origin.hits_of(&path), 1, "one message, one fetch");
    }
    assert_eq!(stage.origin.hits().len(), cases.len() + 1);
    // Each flood was left as soon as it was too large; what the sockets' buffers hold is not read.
    let taken = stage.origin.flooded_bytes();
    assert!(taken < FLOOD_BYTES / 4, "{taken} bytes");
}

/// Posts all at once; gives how often each status and reason was answered.
async fn all_at_once(stage: &Stage, letters: Vec<Letter>) -> HashMap<(u16, String), usize> {
    let posts: Vec<_> = letters
        .into_iter()
        .enumerate()
        .map(|(n, letter)| {
            tokio::spawn(exchange_from(n, stage.addr(), stage.post(&letter).bytes()))
        })
        .collect();
    let mut counts = HashMap::new();
    for post in posts {
        let answer = post.await.unwrap().expect("an answer");
        stage.know(&answer);
        *counts.entry((answer.status, answer.reason())).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_certificates_is_a_few_fetches() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let mended = Arc::new(AtomicBool::new(false));
    let (is_mended, good) = (mended.clone(), leaf(&stage.signing.signer, (-1, 30)));
    stage.origin.route(move |path| {
        let number = u32::from_str_radix(path.get(27..59)?, 16).ok()?;
        Some(match number {
            1000..2000 => Reply::Silence,
            2000..3000 => Reply::Body(b"garbage".to_vec()),
            _ if is_mended.load(Ordering::SeqCst) => Reply::Body(good.clone().into_bytes()),
            _ => raw("503 Service Unavailable", ""),
        })
    });
    let letter = |name: &str, number: u32| {
        let url = stage.origin.url(&path_of(number));
        let id = format!("{name}-{number}");
        stage.signing.notification(&id).with("SigningCertURL", &url)
    };

    // One URL, many messages: one fetch, and none for those that come while its failure is remembered.
    let one: Vec<Letter> = (0..200)
        .map(|n| letter(&format!("one-{n}"), 1000))
        .collect();
    let counts = all_at_once(&stage, one).await;
    let unavailable = (503, "certificate-unavailable".to_owned());
    assert_eq!(counts, HashMap::from([(unavailable.clone(), 200)]));
    assert_eq!(stage.origin.hits_of(&path_of(1000)), 1, "single flight");

    // Many URLs that hang: few fetches at a time, the rest is told to come again, good messages go by.
    let many = (1001..2000).map(|n| letter("many", n)).collect();
    let (counts, ()) = tokio::join!(all_at_once(&stage, many), flow.goes_on());
    assert_eq!(counts.values().sum::<usize>(), 999);
    for (status, reason) in counts.keys() {
        assert_eq!(*status, 503, "{reason}");
        assert!(
            ["certificate-unavailable", "overloaded"].contains(&reason.as_str()),
            "{reason}"
        );
    }
    let most = stage.origin.most_at_once();
    // One that was given up may still be open here when the next begins.
    assert!(most <= 2 * FETCHES_MAX, "{most} fetches at once");

    // Many URLs of garbage push out nothing that is known.
    let garbage = (2000..3000).map(|n| letter("garbage", n)).collect();
    let counts = all_at_once(&stage, garbage).await;
    assert!(
        counts.contains_key(&(403, "certificate-not-one-pem".into())),
        "{counts:?}"
    );
    assert!(
        counts.keys().all(|(status, _)| [403, 503].contains(status)),
        "{counts:?}"
    );
    flow.goes_on().await;
    assert_eq!(
        stage
            .origin
            .hits_of("/SimpleNotificationService-00000000000000000000000000000005.pem"),
        1
    );

    // Many good URLs, as an endless rotation: each is taken, the cache stays bounded, the old one still serves.
    mended.store(true, Ordering::SeqCst);
    for block in (4000..4400).step_by(100) {
        let good = (block..block + 100).map(|n| letter("rotated", n)).collect();
        let counts = all_at_once(&stage, good).await;
        assert_eq!(counts, HashMap::from([((200, String::new()), 100)]));
    }
    flow.goes_on().await;

    // A failure is forgotten soon: the message that met it is taken when it comes again.
    mended.store(false, Ordering::SeqCst);
    let unlucky = stage.post(&letter("unlucky", 5000)).bytes();
    let first = exchange(stage.addr(), unlucky.clone()).await.unwrap();
    assert_eq!((first.status, first.reason()), unavailable);
    assert!(first.header("retry-after").is_some());
    mended.store(true, Ordering::SeqCst);
    wait::until(
        "the mended certificate",
        Duration::from_secs(10),
        || async {
            let answer = exchange(stage.addr(), unlucky.clone()).await.unwrap();
            stage.know(&answer);
            match answer.status {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        },
    )
    .await;
    assert_eq!(
        stage.origin.hits_of(&path_of(5000)),
        2,
        "the failure, then the certificate"
    );

    stage.only_ran(flow, std::iter::empty()).await;
    stage.accounts_for_refusals().await;
    stage.kept_secret(&[]).await;
    assert_eq!(stage.elsewhere.calls(), 0);
}
