#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::fs;

use rcgen::{CertificateParams, KeyPair};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::tls;

const DOMAIN: &str = "hooks.example.com";

fn domains(names: &[&str]) -> Domains {
    Domains::new(names.iter().map(|name| name.parse().unwrap())).unwrap()
}

fn config(names: &[&str]) -> AcmeConfig {
    AcmeConfig {
        domains: domains(names),
        contacts: Vec::new(),
        directory: LETS_ENCRYPT.parse().unwrap(),
        ca_file: None,
        external_account: None,
        retry_min: RETRY_MIN,
    }
}

/// A certificate for `names` that is valid from `from` to `until`, in seconds from now.
fn stored(names: &[&str], from: i64, until: i64) -> StoredCertificate {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let now = std::time::SystemTime::now();
    let at = |seconds: i64| {
        let span = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - span } else { now + span }
    };
    params.not_before = at(from).into();
    params.not_after = at(until).into();
    let key = KeyPair::generate().unwrap();
    StoredCertificate {
        directory: LETS_ENCRYPT.parse().unwrap(),
        domains: domains(&[DOMAIN]),
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

struct Kept {
    folder: TempDir,
    data_dir: Arc<DataDir>,
}

fn data_dir() -> Kept {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = Arc::new(DataDir::open(folder.path()).unwrap());
    Kept { folder, data_dir }
}

/// What a client that offers `protocols` is told, or shown: the handshake's end.
async fn knock(acme: &Arc<Acme>, name: &'static str, protocols: &[&[u8]]) -> String {
    let mut client: ClientConfig = (*tls::client_config(None).unwrap()).clone();
    client.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let connector = TlsConnector::from(Arc::new(client));
    let acceptor = TlsAcceptor::from(acme.server_config().unwrap());
    let (near, far) = tokio::io::duplex(16 * 1024);
    let name = ServerName::try_from(name).unwrap();
    let (client, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    client.map_or_else(|error| error.to_string(), |_| "trusted".to_owned())
}

#[test]
fn a_domain_is_a_name_that_can_be_validated() {
    for (text, name) in [
        ("Hooks.Example.COM.", DOMAIN),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", "localhost"),
    ] {
        assert_eq!(text.parse::<Domain>().unwrap().as_str(), name);
    }
    for text in [
        "",
        ".",
        "*.example.com",
        "bücher.example",
        "192.0.2.1",
        "2001:db8::1",
        "a b",
        "a..b",
        "https://a",
        "a:443",
    ] {
        let error = text.parse::<Domain>().unwrap_err().to_string();
        assert!(error.contains(&format!("{text:?} is no domain")), "{error}");
    }
    assert_eq!(
        domains(&["b.example", "a.example", "A.example"]).to_string(),
        "a.example,b.example"
    );
    assert!(Domains::new([]).is_err());
    let many = (0..=DOMAINS_MAX).map(|n| format!("{n}.example.com").parse().unwrap());
    assert!(Domains::new(many).is_err());
}

#[test]
fn contacts_and_directories_are_urls() {
    for text in ["ops@example.com", "mailto:ops@example.com"] {
        assert_eq!(
            text.parse::<Contact>().unwrap().as_url(),
            "mailto:ops@example.com"
        );
    }
    // RFC 8555 §7.3: neither header fields nor a second address.
    for text in [
        "",
        "ops",
        "@example.com",
        "ops@",
        "a@b?subject=c",
        "a@b,c@d",
        "mailto:mailto:a@b",
        "a @b",
    ] {
        assert!(text.parse::<Contact>().is_err(), "{text}");
    }
    for text in [
        "",
        "acme.example.com",
        "http://acme.example.com/dir",
        "https://",
        "https://user:password@acme.example.com/dir",
        "/dir",
    ] {
        assert!(text.parse::<DirectoryUrl>().is_err(), "{text}");
    }
}

#[test]
fn an_external_accounts_key_is_read_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hmac");
    let read = |text: &str| {
        fs::write(&file, text).unwrap();
        ExternalAccount::read("kid-1".to_owned(), &file)
    };
    for text in [
        "c2VjcmV0LWtleQ",
        "c2VjcmV0LWtleQ==\n",
        "  c2VjcmV0LWtleQ\r\n",
    ] {
        let shown = format!("{:?}", read(text).unwrap());
        assert!(shown.contains("kid-1"), "{shown}");
        let secret = format!("{:?}", b"secret-key");
        assert!(
            !shown.contains("c2Vj") && !shown.contains(&secret) && !shown.contains("115, 101"),
            "{shown}"
        );
    }
    for text in ["", "\n", "a+b/", "not base64!"] {
        let error = exit::chain(&read(text).unwrap_err());
        assert!(error.contains("holds no HMAC key"), "{error}");
    }
}

#[test]
fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
    let now = Timestamp::now();
    let issued = Issued::fresh(&stored(&[DOMAIN], -10, 80), &domains(&[DOMAIN]), now).unwrap();
    let renewal = issued.renew_at.as_second() - now.as_second();
    assert!((49..=51).contains(&renewal), "{renewal}");
    // Good yet, but an authority that issues the like would be asked without end.
    let old = stored(&[DOMAIN], -1000, 80);
    Issued::new(&old, &domains(&[DOMAIN]), now).unwrap();
    let error = Issued::fresh(&old, &domains(&[DOMAIN]), now).unwrap_err();
    assert!(matches!(error, CertificateFault::Stale(_)), "{error}");
}

#[test]
fn a_certificate_that_is_not_ours_or_not_good_is_not_used() {
    let now = Timestamp::now();
    let fault = |stored: &StoredCertificate, names: &[&str]| {
        Issued::new(stored, &domains(names), now).unwrap_err()
    };
    let good = stored(&[DOMAIN], -10, 1000);
    for names in [&["other.example.com"][..], &[DOMAIN, "other.example.com"]] {
        let error = fault(&good, names);
        assert!(
            matches!(error, CertificateFault::OtherDomains(_)),
            "{error}"
        );
    }
    let error = fault(&stored(&[DOMAIN], -1000, -1), &[DOMAIN]);
    assert!(matches!(error, CertificateFault::Expired(_)), "{error}");
    let error = fault(&stored(&["other.example.com"], -10, 1000), &[DOMAIN]);
    assert!(matches!(error, CertificateFault::Unnamed(_)), "{error}");
    let mut foreign_key = stored(&[DOMAIN], -10, 1000);
    foreign_key.key.clone_from(&good.key);
    let error = fault(&foreign_key, &[DOMAIN]);
    assert!(
        matches!(error, CertificateFault::Pem(TlsError::Pair { .. })),
        "{error}"
    );
    assert!(!exit::chain(&error).contains("BEGIN"));
}

#[tokio::test]
async fn what_is_kept_is_served_at_once_and_rubbish_is_in_nobodys_way() {
    let kept = data_dir();
    let file = kept.folder.path().join(stored::CERTIFICATE_FILE);
    let open = |config| Acme::open(config, kept.data_dir.clone()).unwrap();
    for rubbish in ["", "{}", "\u{0}"] {
        fs::write(&file, rubbish).unwrap();
        assert!(!open(config(&[DOMAIN])).check().ok);
    }
    fs::write(&file, vec![b' '; 1 << 20]).unwrap();
    assert!(!open(config(&[DOMAIN])).check().ok);

    stored(&[DOMAIN], -10, 1000)
        .save(&kept.data_dir)
        .await
        .unwrap();
    let acme = open(config(&[DOMAIN]));
    assert!(acme.check().ok, "{:?}", acme.check());
    let left = acme.until_due().unwrap();
    assert!(left > Duration::from_secs(600), "{left:?}");
    // It is there, if not from an authority that this client trusts.
    let told = knock(&acme, DOMAIN, &[b"h2"]).await;
    assert!(told.contains("UnknownIssuer"), "{told}");

    // Of another authority it is good until there is one of the right.
    let mut elsewhere = config(&[DOMAIN]);
    elsewhere.directory = "https://acme.example.com/directory".parse().unwrap();
    let acme = open(elsewhere);
    assert!(acme.check().ok);
    assert_eq!(acme.until_due(), None);
    assert!(!open(config(&["other.example.com"])).check().ok);
}

#[tokio::test]
async fn a_challenge_is_answered_to_its_authority_while_it_lasts() {
    const ASKS: &[&[u8]] = &[b"acme-tls/1"];
    let kept = data_dir();
    let acme = Acme::open(config(&[DOMAIN]), kept.data_dir.clone()).unwrap();
    assert!(knock(&acme, DOMAIN, ASKS).await.contains("AccessDenied"));
    let answering = acme.challenges.begin();
    answering.add(DOMAIN.parse().unwrap(), &[7; 32]).unwrap();
    // Its critical extension (RFC 8737 §3) is what no other client takes.
    let shown = knock(&acme, DOMAIN, ASKS).await;
    assert!(shown.contains("UnsupportedCriticalExtension"), "{shown}");
    for (name, protocols) in [
        ("other.example.com", ASKS),
        (DOMAIN, &[b"h2"]),
        (DOMAIN, &[b"acme-tls/1", b"h2"]),
        (DOMAIN, &[]),
    ] {
        let told = knock(&acme, name, protocols).await;
        assert!(
            told.contains("AccessDenied"),
            "{name} {protocols:?}: {told}"
        );
    }
    drop(answering);
    assert!(knock(&acme, DOMAIN, ASKS).await.contains("AccessDenied"));
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_the_shutdown() {
    let kept = data_dir();
    stored(&[DOMAIN], -10, 1_000_000)
        .save(&kept.data_dir)
        .await
        .unwrap();
    let acme = Acme::open(config(&[DOMAIN]), kept.data_dir.clone()).unwrap();
    let shutdown = Shutdown::new();
    let running = shutdown.spawn(acme.run(shutdown.clone()));
    tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
    assert!(!running.is_finished());
    shutdown.stop();
    running.await.unwrap();
}
