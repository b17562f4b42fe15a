//! Credentials of an instance that end, by a metadata service of the tests' own. The other sources are in
//! `tests/it/aws/credentials.rs`.

use std::{sync::Mutex, time::SystemTime};

use aws_config::{Region, imds};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use jiff::{SignedDuration, Timestamp};

use super::*;

/// A clock that is set.
#[derive(Debug)]
struct Clock(Mutex<Timestamp>);

impl Clock {
    fn forward(&self, by: SignedDuration) {
        let mut now = self.0.lock().unwrap();
        *now += by;
    }
}

impl Ambient for Clock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn random(&self) -> u64 {
        System.random()
    }
}

/// Answers as the metadata service (IMDSv2) and SQS: the credentials of number n last for as long as the nth of `lasts`, and
/// cannot be had after those. `refused` are those that SQS calls expired.
async fn aws(lasts: &'static [SignedDuration], refused: &'static str) -> Target {
    let given = AtomicUsize::new(0);
    Target::start(move |call| match (&*call.method, &*call.path) {
        ("PUT", "/latest/api/token") => {
            assert_eq!(call.header("x-aws-ec2-metadata-token-ttl-seconds"), "21600");
            let lasts = ("x-aws-ec2-metadata-token-ttl-seconds", "21600".to_owned());
            Reply::Whole(200, vec![lasts], "pass".into())
        }
        ("GET", path) if call.header("x-aws-ec2-metadata-token") == "pass" => {
            let path = path.strip_prefix("/latest/meta-data/iam/security-credentials/");
            match path.unwrap() {
                "" => Reply::text(200, "machine"),
                role => {
                    assert_eq!(role, "machine");
                    // Long enough for all to come.
                    std::thread::sleep(Duration::from_millis(100));
                    let number = given.fetch_add(1, Ordering::SeqCst);
                    let Some(lasts) = lasts.get(number) else {
                        return Reply::text(404, "");
                    };
                    Reply::json(200, &json!({
                        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": Timestamp::now(),
                        "AccessKeyId": format!("ASIA{number}"), "SecretAccessKey": "s3cret",
                        "Token": format!("t0ken{number}"), "Expiration": Timestamp::now() + *lasts,
                    }))
                }
            }
        }
        ("POST", "/") if call.header("x-amz-security-token") == refused => {
            Reply::json(403, &json!({"__type": "ExpiredTokenException", "message": "m"}))
        }
        ("POST", "/") => Reply::json(200, &json!({})),
        other => panic!("{other:?}"),
    })
    .await
}

/// A node that is the instance which `target` tells of.
async fn node_at(target: &Target, clock: Arc<dyn Ambient>) -> World {
    let config = provider::config(Some(Region::new("eu-west-1")), loopback());
    let client = imds::Client::builder().configure(&config);
    let client = client.endpoint(format!("http://{}", target.addr)).unwrap();
    let asked = imds::credentials::ImdsCredentialsProvider::builder().configure(&config);
    let asked = asked.imds_client(client.build()).build();
    let node = NodeIdentity::renewed(
        None,
        CredentialSource::Instance,
        SharedCredentialsProvider::new(asked),
        clock.clone(),
    );
    let mut world = World::start().await;
    world.performer = Some(Arc::new(AwsPerformer::new(loopback(), node, clock)));
    world.run();
    world
}

/// A step that is the node's.
fn send_by_node(target: &Target) -> String {
    send(target, "").replace(
        "credentials: {accessKeyId: AKID, secretAccessKey: s3cret}",
        "",
    )
}

/// Who signed each call of SQS.
fn signers(target: &Target) -> Vec<String> {
    let sent = target
        .calls()
        .into_iter()
        .filter(|call| call.method == "POST");
    let who = sent.map(|call| {
        let authorization = call.header("authorization").to_owned();
        let id = authorization.split("Credential=").nth(1).unwrap();
        id.split('/').next().unwrap().to_owned()
    });
    who.collect()
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_asked_for_once_by_all_who_want_them_and_renewed_when_refused() {
    let target = aws(&[HOUR, HOUR], "t0ken0").await;
    let world = node_at(&target, System::shared()).await;
    let definition = send_by_node(&target);
    let mut all = Vec::new();
    for number in 0..8 {
        all.push(world.accept(&definition, &format!("m{number}"), "x").await);
    }
    for execution in &all {
        let facts = world.finished(execution).await;
        output_of(&facts);
        assert_eq!(attempts(&facts).len(), 1);
    }
    let asked = target.calls().into_iter();
    let asked = asked.filter(|call| call.path.ends_with("/machine")).count();
    assert_eq!(asked, 2);
    let signers = signers(&target);
    assert_eq!(signers.iter().filter(|id| *id == "ASIA1").count(), 8);
    let records = format!("{:?}", world.records(&all[0]).await);
    for secret in ["s3cret", "t0ken", "ASIA", "pass"] {
        assert!(!records.contains(secret), "{records}");
    }
}

/// Gives credentials once, and then none.
#[derive(Debug)]
struct Once(AtomicUsize, Timestamp);

impl ProvideCredentials for Once {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(Credentials::new(
                "ASIA0",
                "s3cret",
                Some("t0ken".to_owned()),
                Some(SystemTime::try_from(self.1).unwrap()),
                "once",
            )),
            _ => Err(CredentialsError::provider_error("the source is away")),
        })
    }
}

#[tokio::test]
async fn credentials_that_cannot_be_renewed_are_used_until_they_end() {
    let clock = Arc::new(Clock(Mutex::new(Timestamp::now())));
    // Half of its time, which is short, they are kept.
    let end = clock.now() + SignedDuration::from_millis(100);
    let node = NodeIdentity::renewed(
        None,
        CredentialSource::Container,
        SharedCredentialsProvider::new(Once(AtomicUsize::new(0), end)),
        clock.clone(),
    );
    let id = || async { Ok::<_, AttemptFailure>(node.credentials().await?.access_key_id) };
    assert_eq!(id().await.unwrap(), "ASIA0");
    // The clock stands still: for the node they have not ended when they are no longer kept.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(id().await.unwrap(), "ASIA0");
    clock.forward(HOUR);
    let failed = id().await.unwrap_err();
    assert!(failed.retriable);
    assert_eq!(failed.failure.code, "AWS_CREDENTIALS");
    assert_eq!(
        failed.failure.message,
        "the node has no credentials (--aws-credentials container): an error occurred while loading credentials: \
         the source is away"
    );
}
