//! Plays Amazon SNS: real RSA signatures under a certificate of an authority of its own, a real SubscribeURL, and AWS's
//! delivery semantics (<https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html>).
//!
//! It serves its certificate and ConfirmSubscription on a loopback origin, which the receiver must be told to trust.

mod serve;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use rand::RngExt as _;
use signalbox_runtime::net::{self, BindError};
use signalbox_sns::{
    ConfirmToken, ExpectedName, MessageAttributes, MessageType, SignatureVersion,
    SigningCertificate, SubscriptionArn, TopicArn, TrustPolicy, TrustedOrigin,
    signer::{Corruption, Draft, SignedMessage, Signer, SignerError, SimulatedCa},
};
use tokio::sync::watch;

/// How long Amazon SNS waits for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Amazon SNS's default: 50 attempts; the pauses here are scaled down.
const ATTEMPTS_MAX: u32 = 50;
/// Longest pause between two attempts, scaled down from 20 s.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const ANSWER_SHOWN_CHARS: usize = 2000;

/// Why there is no simulator, or no message.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its address.
    #[error("the listener has no address")]
    Address(#[source] std::io::Error),
    /// The key, the certificate or a signature.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The certificate is not what a receiver would take.
    #[error("the simulator's certificate cannot be used")]
    Certificate,
    /// The HTTP client.
    #[error("the HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// What is published.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The message.
    pub message: String,
    /// Its subject.
    pub subject: Option<String>,
    /// Its attributes.
    pub attributes: MessageAttributes,
    /// SignatureVersion of the topic.
    pub signature_version: SignatureVersion,
    /// Its id; random when none is given.
    pub message_id: Option<String>,
}

impl Publication {
    /// A plain message, signed by version 2.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            subject: None,
            attributes: MessageAttributes::default(),
            signature_version: SignatureVersion::V2,
            message_id: None,
        }
    }
}

/// A request that is ready to go, as often as wanted.
#[derive(Clone, Debug)]
pub struct Post {
    /// Its MessageId.
    pub message_id: String,
    signed: SignedMessage,
}

/// What became of one attempt.
#[derive(Clone, Debug)]
pub enum Delivered {
    /// The receiver answered.
    Answered {
        /// Status.
        status: u16,
        /// Body, cut.
        body: String,
    },
    /// It did not.
    Failed(String),
}

impl Delivered {
    /// 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status, .. } if (200..300).contains(status))
    }

    /// Whether Amazon SNS would try again: 5xx, 429, time-outs and broken connections.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status >= 500 || *status == 429,
            Self::Failed(_) => true,
        }
    }
}

/// A simulated Amazon SNS.
pub struct SimulatedSns {
    origin: String,
    signer: Arc<Signer>,
    signing_cert_url: String,
    client: reqwest::Client,
    state: Arc<State>,
}

/// What the served side and the sending side share.
#[derive(Debug)]
struct State {
    certificate_path: String,
    certificate_pem: String,
    /// Topics by token.
    tokens: Mutex<HashMap<String, TopicArn>>,
    confirmed: watch::Sender<HashMap<String, SubscriptionArn>>,
}

impl SimulatedSns {
    /// Makes a key and a certificate, and serves on `address` until it is dropped.
    ///
    /// # Errors
    /// [`SimulatorError`].
    pub async fn start(address: SocketAddr) -> Result<Self, SimulatorError> {
        signalbox_runtime::tls::install_crypto_provider();
        let listener = net::bind(address, "--serve").await?;
        let address = listener.local_addr().map_err(SimulatorError::Address)?;
        let origin = format!("http://{address}");
        let signer = tokio::task::spawn_blocking(Signer::generate)
            .await
            .map_err(|_| SignerError::Key)??;
        let now = Timestamp::now();
        let (from, to) = (
            now - Duration::from_secs(86_400),
            now + Duration::from_secs(86_400),
        );
        let pem = SimulatedCa::new()?.issue("sns.amazonaws.com", &signer, from, to)?;
        let certificate_path = certificate_path(&pem, &origin)?;
        let state = Arc::new(State {
            certificate_path: certificate_path.clone(),
            certificate_pem: pem,
            tokens: Mutex::default(),
            confirmed: watch::Sender::default(),
        });
        tokio::spawn(serve::run(listener, Arc::downgrade(&state)));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(ANSWER_TIMEOUT)
            .user_agent("Amazon Simple Notification Service Agent")
            .build()
            .map_err(SimulatorError::Client)?;
        Ok(Self {
            signing_cert_url: format!("{origin}{certificate_path}"),
            origin,
            signer: Arc::new(signer),
            client,
            state,
        })
    }

    /// What the receiver must be told to trust.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    fn sign(
        &self,
        mut draft: Draft,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        draft.version = version;
        draft.signing_cert_url.clone_from(&self.signing_cert_url);
        draft.endpoint.clone_from(&self.origin);
        let signed = if spoil {
            draft.sign_corrupted(&self.signer, Corruption::Signature)?
        } else {
            draft.sign(&self.signer)?
        };
        Ok(Post {
            message_id: draft.message_id,
            signed,
        })
    }

    fn draft(topic: &TopicArn, publication: &Publication) -> Draft {
        let id = publication
            .message_id
            .clone()
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let mut draft = Draft::notification(topic, &id, &publication.message, Timestamp::now());
        draft.subject.clone_from(&publication.subject);
        draft.attributes = publication.attributes.clone();
        draft.subscription_arn =
            SubscriptionArn::parse(&format!("{topic}:{}", uuid::Uuid::new_v4())).ok();
        draft
    }

    /// A Notification.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn notification(
        &self,
        topic: &TopicArn,
        publication: &Publication,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        self.sign(
            Self::draft(topic, publication),
            publication.signature_version,
            spoil,
        )
    }

    /// A raw message.
    ///
    /// # Errors
    /// Never now.
    pub fn raw(&self, topic: &TopicArn, publication: &Publication) -> Result<Post, SimulatorError> {
        let draft = Self::draft(topic, publication);
        Ok(Post {
            signed: draft.raw(),
            message_id: draft.message_id,
        })
    }

    fn handshake(
        &self,
        kind: MessageType,
        topic: &TopicArn,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        let mut rng = rand::rng();
        let token: String = (0..128)
            .map(|_| char::from(b"0123456789abcdef"[rng.random_range(0..16)]))
            .collect();
        if let Ok(mut tokens) = self.state.tokens.lock() {
            tokens.insert(token.clone(), topic.clone());
        }
        let token = ConfirmToken::parse(&token).map_err(|_| SimulatorError::Certificate)?;
        let id = uuid::Uuid::new_v4().to_string();
        let draft = Draft::confirmation(kind, topic, &id, &token, Timestamp::now());
        self.sign(draft, version, spoil)
    }

    /// A SubscriptionConfirmation.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn confirmation(
        &self,
        topic: &TopicArn,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        self.handshake(MessageType::SubscriptionConfirmation, topic, version, spoil)
    }

    /// An UnsubscribeConfirmation.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn unsubscribe(
        &self,
        topic: &TopicArn,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        self.handshake(MessageType::UnsubscribeConfirmation, topic, version, spoil)
    }

    /// One attempt: as Amazon SNS makes it, also with its answer to a Basic challenge.
    pub async fn attempt(&self, endpoint: &str, post: &Post) -> Delivered {
        let Ok(mut url) = url::Url::parse(endpoint) else {
            return Delivered::Failed("the endpoint is no URL".to_owned());
        };
        let user = url.username().to_owned();
        let password = url.password().map(str::to_owned);
        // Credentials go out only when they are asked for.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        let request = || {
            let mut request = self.client.post(url.clone()).body(post.signed.body.clone());
            for (name, value) in &post.signed.headers {
                request = request.header(*name, value);
            }
            request
        };
        let answered = async {
            let answer = request().send().await?;
            let challenged = answer.status() == http::StatusCode::UNAUTHORIZED
                && answer
                    .headers()
                    .get(http::header::WWW_AUTHENTICATE)
                    .is_some_and(|value| {
                        value
                            .as_bytes()
                            .get(..5)
                            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
                    });
            let answer = match (&password, challenged) {
                (Some(password), true) => {
                    request().basic_auth(&user, Some(password)).send().await?
                }
                _ => answer,
            };
            let status = answer.status().as_u16();
            let body: String = answer
                .text()
                .await?
                .chars()
                .take(ANSWER_SHOWN_CHARS)
                .collect();
            Ok::<_, reqwest::Error>(Delivered::Answered { status, body })
        };
        match answered.await {
            Ok(delivered) => delivered,
            Err(error) if error.is_timeout() => Delivered::Failed("no answer in 15 s".to_owned()),
            Err(error) => Delivered::Failed(error.without_url().to_string()),
        }
    }

    /// Delivers as Amazon SNS does: again and again while the answer is one that it retries.
    pub async fn deliver(&self, endpoint: &str, post: &Post) -> (Delivered, u32) {
        let mut attempts = 0;
        loop {
            let delivered = self.attempt(endpoint, post).await;
            attempts += 1;
            if !delivered.is_retried() || attempts >= ATTEMPTS_MAX {
                return (delivered, attempts);
            }
            // Three retries without delay, then growing.
            let pause =
                Duration::from_millis(u64::from(attempts.saturating_sub(3)) * 100).min(PAUSE_MAX);
            tokio::time::sleep(pause).await;
        }
    }

    /// Waits until a subscription to `topic` is confirmed; says whether it was within `limit`.
    pub async fn wait_confirmed(&self, topic: &TopicArn, limit: Duration) -> bool {
        let mut confirmed = self.state.confirmed.subscribe();
        let waited = confirmed.wait_for(|confirmed| confirmed.contains_key(topic.as_str()));
        tokio::time::timeout(limit, waited)
            .await
            .is_ok_and(|found| found.is_ok())
    }
}

/// The path of a certificate: of a form that receivers take, and another one for each certificate, since they keep what
/// they fetched from a path.
fn certificate_path(pem: &str, origin: &str) -> Result<String, SimulatorError> {
    let origin: TrustedOrigin = origin.parse().map_err(|_| SimulatorError::Certificate)?;
    let topic = TopicArn::parse("arn:aws:sns:us-east-1:123456789012:any")
        .map_err(|_| SimulatorError::Certificate)?;
    let probe = format!("{origin}/SimpleNotificationService-{}.pem", "0".repeat(32));
    let policy = TrustPolicy {
        trusted_origins: vec![origin],
    };
    let location = signalbox_sns::SigningCertUrl::parse(&probe, &topic, &policy)
        .map_err(|_| SimulatorError::Certificate)?;
    let expected: &ExpectedName = location.expected_name();
    let certificate = SigningCertificate::from_pem(pem.as_bytes(), expected)
        .map_err(|_| SimulatorError::Certificate)?;
    let fingerprint = certificate.fingerprint().to_string();
    let hex: String = fingerprint
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(32)
        .collect();
    Ok(format!(
        "/SimpleNotificationService-{}.pem",
        hex.to_ascii_lowercase()
    ))
}
