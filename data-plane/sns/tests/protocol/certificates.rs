//! Certificates that were fetched, and should not be believed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, DnType, KeyPair};
use signalbox_sns::{ExpectedName, Refusal, RefusalKind, SigningCertificate};

use crate::support::{CERTIFICATE, SIGNER, TOPIC, leaf, now, time};

fn read(pem: impl AsRef<[u8]>) -> Result<SigningCertificate, &'static str> {
    let expected = ExpectedName::for_region(TOPIC.region());
    SigningCertificate::from_pem(pem.as_ref(), &expected).map_err(|error| {
        assert_eq!(error.kind(), RefusalKind::Forbidden);
        error.reason()
    })
}

fn self_signed(name: &str, key: &KeyPair) -> String {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.self_signed(key).unwrap().pem()
}

#[test]
fn exactly_one_pem_block_and_nothing_around_it() {
    let good = leaf("sns.amazonaws.com");
    for body in [
        good.clone(),
        good.replace("\r\n", "\n"),
        good.replace("\r\n", "\n").replace('\n', "\r\n"),
        format!("{good}\n \r\n"),
    ] {
        read(&body).unwrap();
    }
    let base64: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    let longer = [STANDARD.decode(base64).unwrap().as_slice(), &[0, 0]].concat();
    let extra = format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        STANDARD.encode(longer)
    );
    let cases = [
        (String::new(), "certificate-not-one-pem"),
        ("<html>not found</html>".into(), "certificate-not-one-pem"),
        (format!("{good}{good}"), "certificate-not-one-pem"),
        (format!("\n{good}"), "certificate-not-one-pem"),
        (
            format!("subject=CN = sns.amazonaws.com\n{good}"),
            "certificate-not-one-pem",
        ),
        (format!("{good}# end"), "certificate-not-one-pem"),
        (
            good.replace("CERTIFICATE", "PUBLIC KEY"),
            "certificate-not-one-pem",
        ),
        (good.replace("END", "FIN"), "certificate-not-one-pem"),
        (good.replacen('M', "*", 1), "certificate-not-one-pem"),
        (extra, "certificate-not-x509"),
        (
            "-----BEGIN CERTIFICATE----------END CERTIFICATE-----".into(),
            "certificate-not-one-pem",
        ),
        (
            "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----".into(),
            "certificate-not-x509",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            "certificate-not-x509",
        ),
        ("x".repeat(20_000), "certificate-too-large"),
    ];
    for (body, reason) in cases {
        assert_eq!(read(&body).err(), Some(reason), "{body:.100}");
    }
    assert_eq!(read([0xff, 0xfe]).err(), Some("certificate-not-one-pem"));
}

#[test]
fn only_rsa_of_2048_bits_or_more_signs() {
    let elliptic = self_signed("sns.amazonaws.com", &KeyPair::generate().unwrap());
    assert_eq!(read(elliptic).err(), Some("certificate-not-rsa"));
    assert_eq!(
        read(include_str!("../data/certificates/rsa-512.pem")).err(),
        Some("certificate-key-size")
    );
    assert_eq!(
        read(include_str!("../data/certificates/rsa-1024.pem")).err(),
        Some("certificate-key-size")
    );
    let trusted = ExpectedName::Any {
        origin: "http://127.0.0.1:4566".parse().unwrap(),
    };
    let weak = SigningCertificate::from_pem(
        include_bytes!("../data/certificates/rsa-1024.pem"),
        &trusted,
    );
    assert_eq!(weak.unwrap_err().reason(), "certificate-key-size");
}

#[test]
fn the_name_is_that_of_the_topics_region() {
    for name in [
        "sns.amazonaws.com.evil.com",
        "evil.com",
        "sns-signing.us-east-1.amazonaws.com",
        "*.amazonaws.com",
    ] {
        assert_eq!(read(leaf(name)).err(), Some("certificate-name"), "{name}");
    }
    read(leaf("SNS.amazonaws.com")).unwrap();
}

#[test]
fn the_common_name_counts_only_without_alternative_names() {
    let key = KeyPair::try_from(SIGNER.pkcs8()).unwrap();
    let issuer_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let issuer = rcgen::Issuer::new(authority, issuer_key);
    let issue = |alternatives: &[&str], common: &str| {
        let names: Vec<String> = alternatives.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.signed_by(&key, &issuer).unwrap().pem()
    };
    read(issue(&[], "sns.amazonaws.com")).unwrap();
    read(issue(&["a.example", "sns.amazonaws.com"], "whatever")).unwrap();
    assert_eq!(
        read(issue(&["evil.com"], "sns.amazonaws.com")).err(),
        Some("certificate-name")
    );
    assert_eq!(read(issue(&[], "evil.com")).err(), Some("certificate-name"));
}

#[test]
fn nothing_that_vouches_for_itself_or_for_others_is_awss() {
    let key = KeyPair::try_from(SIGNER.pkcs8()).unwrap();
    assert_eq!(
        read(self_signed("sns.amazonaws.com", &key)).err(),
        Some("certificate-self-issued")
    );
    let mut authority = CertificateParams::default();
    authority
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let issuer = rcgen::Issuer::new(authority, KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(["sns.amazonaws.com".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let intermediate = params.signed_by(&key, &issuer).unwrap().pem();
    assert_eq!(read(intermediate).err(), Some("certificate-self-issued"));
}

#[test]
fn validity_follows_the_clock_that_is_passed_in() {
    let certificate = read(leaf("sns.amazonaws.com")).unwrap();
    assert_eq!(certificate.not_before(), time("2026-11-01T00:00:00Z"));
    assert_eq!(certificate.not_after(), time("2026-12-01T00:00:00Z"));
    certificate.check_validity(now()).unwrap();
    let reason = |at: &str| certificate.check_validity(time(at)).unwrap_err().reason();
    assert_eq!(reason("2026-10-31T23:59:59Z"), "certificate-not-yet-valid");
    assert_eq!(reason("2026-12-01T00:00:01Z"), "certificate-expired");
}

#[test]
fn a_certificate_keeps_what_is_needed_to_check_again() {
    let certificate = CERTIFICATE.clone();
    let again =
        SigningCertificate::from_pem(certificate.pem().as_bytes(), certificate.expected_name())
            .unwrap();
    assert_eq!(again.fingerprint(), certificate.fingerprint());
    assert_eq!(certificate.fingerprint().to_string().len(), 64);
}
