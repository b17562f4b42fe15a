//! SigningCertURL is unsigned and hostile: nothing is fetched from where AWS does not serve the topic's certificate.

use super::support::{Case, Stage, TOPIC};

const FILE: &str = "SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";

/// The JSON text of a SigningCertURL, and what is said of it.
fn urls(stage: &Stage) -> Vec<(String, u16, &'static str)> {
    let (origin, elsewhere) = (stage.origin.addr, stage.elsewhere.addr);
    let aws = "sns.us-east-1.amazonaws.com";
    let (port, other_port) = (origin.port(), elsewhere.port());
    let refused = |reason: &'static str, urls: Vec<String>| {
        urls.into_iter()
            .map(move |url| (serde_json::Value::from(url).to_string(), 403, reason))
    };
    let at = |host: &str| format!("https://{host}/{FILE}");
    let scheme = vec![
        format!("http://{aws}/{FILE}"),
        format!("HTTPS://{aws}/{FILE}"),
        format!("ftp://{aws}/{FILE}"),
        format!("//{aws}/{FILE}"),
        format!("{aws}/{FILE}"),
        "file:///etc/ssl/x.pem".into(),
        "data:application/x-pem-file;base64,AAAA.pem".replace([';', ','], "-"),
        format!("http://{elsewhere}/{FILE}"),
        format!("http://localhost:{other_port}/{FILE}"),
        format!("http://[::1]:{other_port}/{FILE}"),
        format!("http://2130706433:{port}/{FILE}"),
        format!("http://127.1:{port}/{FILE}"),
        format!("http://127.0.0.1:0{port}/{FILE}"),
        format!("http://127.0.0.1.:{port}/{FILE}"),
    ];
    let host = vec![
        at("sns.us-east-1.amazonaws.com.evil.com"),
        format!("https://evil.com/{aws}/{FILE}"),
        at("sns.evil.amazonaws.com."),
        at("sns.evil.amazonaws.com"),
        at("sns.us-east-1.amazonaws.com."),
        at("sns-us-east-1.s3.amazonaws.com"),
        at("bucket.s3.us-east-1.amazonaws.com"),
        at("sns.us-east-1.amazonaws.com.s3.amazonaws.com"),
        at("a1b2c3.execute-api.us-east-1.amazonaws.com"),
        at("a1b2c3.lambda-url.us-east-1.on.aws"),
        at("SNS.us-east-1.amazonaws.com"),
        at("sns.us-east-1.AMAZONAWS.com"),
        at("xn--sns-9na.us-east-1.amazonaws.com"),
        at("evilsns.us-east-1.amazonaws.com"),
        at("sns-us-east-1.amazonaws.com"),
        at("amazonaws.com"),
        at("169.254.169.254"),
        at("127.0.0.1"),
        at("[::1]"),
        at("[::ffff:127.0.0.1]"),
        at("[fd00:ec2::254]"),
        at("localhost"),
        at("metadata.google.internal"),
        // The topic is of us-east-1, in the partition aws.
        at("sns.eu-west-1.amazonaws.com"),
        at("sns.us-east-1.amazonaws.com.cn"),
        at("sns.cn-north-1.amazonaws.com.cn"),
        at("sns.us-gov-west-1.amazonaws.com"),
        at("sns.us-isob-east-1.sc2s.sgov.gov"),
        format!("https:///{FILE}"),
    ];
    let path = vec![
        format!("https://{aws}/../{FILE}"),
        format!("https://{aws}/x/../{FILE}"),
        format!("https://{aws}//{FILE}"),
        format!("https://{aws}/{FILE}/"),
        format!("https://{aws}/{FILE}.txt"),
        format!("https://{aws}/x/{FILE}"),
        format!("https://{aws}/SimpleNotificationService-.pem"),
        format!("https://{aws}/SimpleNotificationService-7506.pem"),
        format!("https://{aws}/SimpleNotificationService-zz06a1e35b36ef5a444dd1a8e7cc3ed8.pem"),
        format!("https://{aws}/other.pem"),
        format!("https://{aws}"),
        format!("http://{origin}/../{FILE}"),
        format!("http://{origin}//{FILE}"),
        format!("http://{origin}/latest/meta-data"),
    ];
    let characters = vec![
        format!("https://sns%2eus-east-1%2eamazonaws%2ecom/{FILE}"),
        format!("https://{aws}/%2e%2e/{FILE}"),
        format!("https://evil.com\\@{aws}/{FILE}"),
        format!("https:\\\\{aws}\\{FILE}"),
        format!("https://{aws}\t/{FILE}"),
        format!("https://{aws}\n/{FILE}"),
        format!("https://{aws}/{FILE}\0.pem"),
        format!(" https://{aws}/{FILE}"),
        format!("https://{aws}/{FILE} "),
        format!("https://sns。us-east-1。amazonaws。com/{FILE}"),
        format!("https://ѕns.us-east-1.amazonaws.com/{FILE}"),
    ];
    let mut all: Vec<_> = refused("certificate-url-scheme", scheme)
        .chain(refused("certificate-url-host", host))
        .chain(refused("certificate-url-path", path))
        .chain(refused("certificate-url-characters", characters))
        .chain(refused(
            "certificate-url-port",
            vec![
                format!("https://{aws}:8443/{FILE}"),
                format!("https://{aws}:443/{FILE}"),
                format!("https://{aws}:/{FILE}"),
            ],
        ))
        .chain(refused(
            "certificate-url-userinfo",
            vec![
                format!("https://{aws}@evil.com/{FILE}"),
                format!("https://{aws}:x@evil.com/{FILE}"),
                format!("http://{origin}@{elsewhere}/{FILE}"),
                format!("http://{elsewhere}@{origin}/{FILE}"),
            ],
        ))
        .chain(refused(
            "certificate-url-query",
            vec![
                format!("https://{aws}/{FILE}?x=1"),
                format!("https://{aws}/?x=/{FILE}"),
            ],
        ))
        .chain(refused(
            "certificate-url-fragment",
            vec![
                format!("https://{aws}/{FILE}#x"),
                format!("https://evil.com#{aws}/{FILE}"),
            ],
        ))
        .chain(refused(
            "certificate-url-too-long",
            vec![format!("https://{aws}/{}/{FILE}", "x".repeat(600))],
        ))
        .collect();
    let megabyte = format!("\"https://{aws}/{}/{FILE}\"", "x".repeat(1 << 20));
    all.push((megabyte, 400, "field-too-long"));
    all.push(("\"\"".into(), 403, "signature-missing"));
    for other_type in ["null", "5", "true", "[\"https://x\"]", "{}"] {
        all.push((other_type.into(), 400, "field-wrong-type"));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_url_that_is_not_the_topics_own_is_not_followed() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let fetches = || stage.metric("signalbox_ingest_certificate_fetches_total", &[]);
    assert!((fetches().await - 1.0).abs() < 0.5, "the good one's");

    let cases: Vec<Case> = urls(&stage)
        .into_iter()
        .enumerate()
        .map(|(number, (url, status, reason))| {
            let id = format!("url-{number}");
            let letter = stage.signing.notification(&id).raw("SigningCertURL", &url);
            let name = url.chars().take(100).collect::<String>();
            Case::new(name, stage.post(&letter), status, reason).shows(&id, TOPIC)
        })
        .collect();
    assert!(cases.len() > 80);
    stage.judge(&cases, flow).await;
    assert!(
        (fetches().await - 1.0).abs() < 0.5,
        "no attack had anything fetched"
    );
    assert_eq!(stage.origin.hits().len(), 1, "{:?}", stage.origin.hits());
}
