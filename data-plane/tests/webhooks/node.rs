//! The parts of a data plane that take webhooks, on a free port, with a configuration of their own.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use prost::Message as _;
use serde_json::Value;
use signalbox_data_plane::{
    config::{Change, ConfigStore, Upsert},
    egress::EgressPolicy,
    ingest::{
        Budget, Certificates, Ingest,
        confirm::{ConfirmPolicy, Confirmer},
    },
    layer,
    server::{self, Bodies, BodyLimits, Handler, Proxies, RequestMetrics, ServerConfigLimits},
    spool::{IntakeSpool, IntakeSpoolConfig, Spool, SqliteSpoolConfig},
    sync::decode_resource,
};
use signalbox_log::LogConfig;
use signalbox_model::{
    config::{KeyConfig, KeyDigest, PreviousValue, Resource, Revision},
    key_scope::KeyScope,
    rate_limit::RateLimit,
    record::{Accepted, Delivery, RecordBody, SequencedRecord, SubscriptionChange},
};
use signalbox_proto::{convert, v1};
use signalbox_runtime::shutdown::Shutdown;
use signalbox_sns::TrustPolicy;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::sns::{ORDERS, Origin};

pub const KEY: &str = "sbk_the-key-that-may-call";
pub const OTHER_KEY: &str = "sbk_a-live-key-of-no-trigger";
pub const REVOKED_KEY: &str = "sbk_a-revoked-key";
pub const EXPIRED_KEY: &str = "sbk_an-expired-key";
pub const FOREIGN_KEY: &str = "sbk_a-live-key-of-another-project";

/// Small, so that opening one takes little time.
pub const SEGMENT_BYTES: u64 = 4 * 1024 * 1024;

/// What differs between tests.
pub struct Options {
    pub synced: bool,
    pub body_max_bytes: usize,
    pub bodies_max_bytes: usize,
    pub body_timeout: Duration,
    pub request_timeout: Duration,
    pub in_flight_max: usize,
    pub limits: ServerConfigLimits,
    pub spool_max_bytes: u64,
    /// Of the intake log.
    pub segment_bytes: u64,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub proxies: Proxies,
    /// Origins that are trusted beside the node's own.
    pub trusted: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            synced: true,
            body_max_bytes: 2 * 1024 * 1024,
            bodies_max_bytes: BodyLimits::HELD_MAX_BYTES,
            body_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(14),
            in_flight_max: 1024,
            limits: ServerConfigLimits {
                connections_max: 1024,
                connections_per_address_max: 1024,
                header_timeout: Duration::from_secs(10),
                idle_timeout: Duration::from_secs(10),
                end_timeout: Duration::from_secs(5),
            },
            spool_max_bytes: 1 << 30,
            segment_bytes: SEGMENT_BYTES,
            tls: None,
            proxies: Proxies::default(),
            trusted: Vec::new(),
        }
    }
}

pub struct Node {
    pub address: SocketAddr,
    pub origin: Origin,
    pub spool: Arc<IntakeSpool>,
    pub store: Arc<ConfigStore>,
    pub shutdown: Shutdown,
    pub certificates: Certificates,
    pub trust: TrustPolicy,
    pub dir: TempDir,
    client: reqwest::Client,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The last segment of the problem's type; empty for what is no problem.
    pub fn reason(&self) -> String {
        let json = self.json();
        let kind = json["type"].as_str().unwrap_or_default();
        kind.rsplit('/').next().unwrap_or_default().to_owned()
    }
}

pub fn open_spool(dir: &Path, max_bytes: u64, segment_bytes: u64) -> Arc<IntakeSpool> {
    let store = SqliteSpoolConfig {
        read_scope: signalbox_data_plane::ingest::read_scope,
        max_bytes,
        ..SqliteSpoolConfig::default()
    };
    let config = IntakeSpoolConfig {
        store,
        log: LogConfig { segment_bytes },
        ..IntakeSpoolConfig::default()
    };
    Arc::new(IntakeSpool::open(dir, &config).unwrap())
}

impl Node {
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        signalbox_runtime::tls::install_crypto_provider();
        let origin = Origin::start().await;
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(ConfigStore::open(dir.path(), decode_resource).unwrap());
        if options.synced {
            store.apply(configuration()).unwrap();
            store.contact().regained();
        }
        let spool = open_spool(dir.path(), options.spool_max_bytes, options.segment_bytes);
        let certificates = Certificates::new(EgressPolicy::default()).unwrap();
        let trust = TrustPolicy {
            trusted_origins: std::iter::once(&origin.url)
                .chain(&options.trusted)
                .map(|origin| origin.parse().unwrap())
                .collect(),
        };
        let shutdown = Shutdown::new();
        let handler = Arc::new(Handler {
            ingest: Ingest {
                config: store.clone(),
                spool: spool.clone(),
                certificates: certificates.clone(),
                trust: trust.clone(),
                deduplication_window: Duration::from_secs(7 * 24 * 3600),
                budget: Budget::default(),
            },
            bodies: Bodies::new(BodyLimits {
                max_bytes: options.body_max_bytes,
                timeout: options.body_timeout,
                in_flight_max: options.in_flight_max,
                held_max_bytes: options.bodies_max_bytes,
            }),
            shutdown: shutdown.clone(),
            metrics: RequestMetrics::default(),
        });
        let stack = layer::stack(handler, options.in_flight_max, options.request_timeout);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = server::run(
            listener,
            options.tls,
            options.limits,
            options.proxies,
            stack,
            shutdown.clone(),
        );
        shutdown.spawn(served);
        Self {
            address,
            origin,
            spool,
            store,
            shutdown,
            certificates,
            trust,
            dir,
            client: reqwest::Client::new(),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn sns_url(&self, workflow: &str) -> String {
        self.url(&format!("/v1/projects/default/workflows/{workflow}/sns"))
    }

    pub fn hook_url(&self, workflow: &str) -> String {
        self.url(&format!(
            "/v1/projects/default/workflows/{workflow}/webhook"
        ))
    }

    /// A POST without a key.
    pub fn request(&self, url: &str) -> reqwest::RequestBuilder {
        self.client.post(url)
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::of(request.send().await.unwrap()).await
    }

    /// Posts a signed message as SNS does, the key in the query.
    pub async fn deliver(
        &self,
        workflow: &str,
        message: signalbox_sns::signer::SignedMessage,
    ) -> Answer {
        self.send(self.delivery_of(workflow, message)).await
    }

    pub fn delivery_of(
        &self,
        workflow: &str,
        message: signalbox_sns::signer::SignedMessage,
    ) -> reqwest::RequestBuilder {
        let url = format!("{}?x-api-key={KEY}", self.sns_url(workflow));
        let mut request = self.request(&url).body(message.body);
        for (name, value) in message.headers {
            request = request.header(name, value);
        }
        request
    }

    /// What is to be reported, once the store has all that was accepted.
    pub async fn records(&self) -> Vec<SequencedRecord> {
        while self.spool.pending() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.spool
            .unreported(0, 100_000, usize::MAX >> 1)
            .await
            .unwrap()
    }

    pub async fn accepted(&self) -> Vec<Accepted> {
        let records = self.records().await.into_iter();
        records
            .filter_map(|record| match record.record.body {
                RecordBody::Accepted(accepted) => Some(*accepted),
                _ => None,
            })
            .collect()
    }

    pub async fn deliveries(&self) -> Vec<Delivery> {
        let records = self.records().await.into_iter();
        records
            .filter_map(|record| match record.record.body {
                RecordBody::Delivery(delivery) => Some(*delivery),
                _ => None,
            })
            .collect()
    }

    pub async fn subscription_changes(&self) -> Vec<SubscriptionChange> {
        changes(&*self.spool).await
    }

    /// Waits until a delivery with this reason is recorded: refusals are recorded without making their sender wait.
    pub async fn refused(&self, reason: &str) -> Delivery {
        eventually(reason, || async {
            let mut found = self.deliveries().await.into_iter();
            found.find(|delivery| delivery.reason == reason)
        })
        .await
    }

    /// Runs a confirmer with short pauses until the returned scope ends.
    pub fn confirm(&self) -> Shutdown {
        run_confirmer(self.spool.clone(), &self.certificates, &self.trust)
    }
}

pub async fn changes(spool: &dyn Spool) -> Vec<SubscriptionChange> {
    let records = spool.unreported(0, 100_000, usize::MAX >> 1).await.unwrap();
    records
        .into_iter()
        .filter_map(|record| match record.record.body {
            RecordBody::Subscription(change) => Some(*change),
            _ => None,
        })
        .collect()
}

pub fn run_confirmer(
    spool: Arc<IntakeSpool>,
    certificates: &Certificates,
    trust: &TrustPolicy,
) -> Shutdown {
    let shutdown = Shutdown::new();
    let confirmer = Confirmer {
        spool,
        certificates: certificates.clone(),
        trust: trust.clone(),
        policy: ConfirmPolicy {
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(100),
            ..ConfirmPolicy::default()
        },
        ambient: signalbox_runtime::ambient::System::shared(),
    };
    shutdown.spawn(confirmer.run(shutdown.clone()));
    shutdown
}

/// TLS with a certificate for `localhost` that only itself vouches for; its chain is at the path.
pub fn self_signed(dir: &Path) -> (Arc<rustls::ServerConfig>, std::path::PathBuf) {
    signalbox_runtime::tls::install_crypto_provider();
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (dir.join("chain.pem"), dir.join("key.pem"));
    std::fs::write(&chain, signed.cert.pem()).unwrap();
    std::fs::write(&key, signed.signing_key.serialize_pem()).unwrap();
    (
        signalbox_runtime::tls::server_config(&chain, &key).unwrap(),
        chain,
    )
}

/// Waits for what must come.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = std::time::Instant::now() + Duration::from_secs(15);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "{what} did not come");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn upsert(name: String, resource: &signalbox_proto::dataplane::v1::Resource) -> Upsert {
    let encoded = Bytes::from(resource.encode_to_vec());
    Upsert {
        name,
        resource: decode_resource(&encoded).unwrap(),
        encoded,
    }
}

fn digest_of(value: &str) -> KeyDigest {
    let mut digest = [0; 32];
    digest.copy_from_slice(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.as_bytes()).as_ref(),
    );
    KeyDigest(digest)
}

pub fn key(name: &str, value: &str, revoked: bool, expires_at: Option<&str>) -> Upsert {
    let config = KeyConfig {
        name: name.parse().unwrap(),
        digest: digest_of(value),
        revoked,
        expires_at: expires_at.map(|at| at.parse::<Timestamp>().unwrap()),
        rate_limit: None,
        scope: None,
        previous: None,
    };
    upsert(name.to_owned(), &convert::config::key_to_wire(&config))
}

/// The same for some workflows, or networks.
pub fn with_scope(key: Upsert, workflows: &[&str], source_networks: &[&str]) -> Upsert {
    let Resource::Key(mut config) = key.resource else {
        panic!("is no key");
    };
    let scope = KeyScope::new(&config.name.project, workflows, source_networks).unwrap();
    config.scope = Some(Arc::new(scope));
    upsert(key.name, &convert::config::key_to_wire(&config))
}

/// The same with a value before, which works until `expires_at`.
pub fn with_previous(key: Upsert, value: &str, expires_at: Timestamp) -> Upsert {
    let Resource::Key(mut config) = key.resource else {
        panic!("is no key");
    };
    config.previous = Some(Box::new(PreviousValue {
        digest: digest_of(value),
        expires_at,
    }));
    upsert(key.name, &convert::config::key_to_wire(&config))
}

/// The same with a rate limit.
pub fn with_rate(key: Upsert, per_second: i64, burst: i64) -> Upsert {
    let Resource::Key(mut config) = key.resource else {
        panic!("is no key");
    };
    config.rate_limit = RateLimit::new(per_second, burst).ok();
    upsert(key.name, &convert::config::key_to_wire(&config))
}

pub fn workflow(id: &str, enabled: bool, trigger: Option<&str>, bound: Option<&str>) -> Upsert {
    let name = format!("projects/default/workflows/{id}");
    let source = trigger.map(|trigger| {
        let yaml = format!("trigger: {trigger}\nsteps:\n  - id: done\n    succeed: {{}}\n");
        let spec: v1::WorkflowSpec = convert::json::from_yaml_str(&yaml).unwrap();
        convert::definition::encode(&spec)
    });
    let published = source.as_ref().map(|source| (3, source.as_ref()));
    let resource =
        convert::config::workflow_to_wire(&name.parse().unwrap(), enabled, published, bound);
    upsert(name, &resource.unwrap())
}

pub fn change(revision: u64, upserts: Vec<Upsert>) -> Change {
    Change {
        incarnation: "i".to_owned(),
        revision: Revision(revision),
        replaces_all: false,
        upserts,
        deletes: Vec::new(),
        keep: Vec::new(),
    }
}

fn configuration() -> Change {
    let keys = "apiKeys: [sender]";
    let orders = format!("{{amazonSns: {{{keys}, topicArns: ['{ORDERS}']}}}}");
    let unbound = format!("{{amazonSns: {{{keys}}}}}");
    let raw = format!("{{amazonSns: {{{keys}, topicArns: ['{ORDERS}'], allowRawDelivery: true}}}}");
    let strict = format!(
        "{{amazonSns: {{{keys}, topicArns: ['{ORDERS}'], minimumSignatureVersion: 2, maxMessageAge: 60s}}}}"
    );
    let hook = format!("{{webhook: {{{keys}}}}}");
    change(
        1,
        vec![
            key("projects/default/apiKeys/sender", KEY, false, None),
            key("projects/default/apiKeys/other", OTHER_KEY, false, None),
            key("projects/default/apiKeys/revoked", REVOKED_KEY, true, None),
            key(
                "projects/default/apiKeys/expired",
                EXPIRED_KEY,
                false,
                Some("2020-01-01T00:00:00Z"),
            ),
            key(
                "projects/elsewhere/apiKeys/sender",
                FOREIGN_KEY,
                false,
                None,
            ),
            workflow("orders", true, Some(&orders), None),
            workflow("unbound", true, Some(&unbound), None),
            workflow("bound", true, Some(&unbound), Some(ORDERS)),
            workflow("raw", true, Some(&raw), None),
            workflow("strict", true, Some(&strict), None),
            workflow("disabled", false, Some(&orders), None),
            workflow("unpublished", true, None, None),
            workflow("manual", true, Some("{manual: {}}"), None),
            workflow("hook", true, Some(&hook), None),
            workflow("hook-disabled", false, Some(&hook), None),
        ],
    )
}
