//! Plays Amazon SNS: real RSA signatures under a certificate of an authority of its own, a real SubscribeURL, and AWS's
//! delivery semantics (<https://docs.aws.amazon.com/sns/latest/dg/sns-message-delivery-retries.html>).
//!
//! It serves its certificate and ConfirmSubscription on an origin that the receiver must be told to trust
//! (`--sns-trusted-origin`). [`SimulatedSns::subscribe`] and [`SimulatedSns::publish`] play whole topics;
//! [`SimulatedSns::notification`] and its like make single requests, also spoilt ones, for [`SimulatedSns::attempt`].

mod book;
mod deliver;
mod serve;
mod topic;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;
use rand::RngExt as _;
use signalbox_runtime::net::{self, BindError};
use signalbox_sns::{
    ConfirmToken, ExpectedName, MessageAttributes, MessageType, SignatureVersion,
    SigningCertificate, SubscriptionArn, TopicArn, TrustPolicy, TrustedOrigin,
    signer::{Corruption, Draft, SignedMessage, Signer, SignerError, SimulatedCa},
};

use self::book::{Book, Pending};
pub use self::{
    deliver::{ANSWER_TIMEOUT, Delivered, DeliveryPolicy},
    topic::{Delivery, Subscribed},
};

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
    /// No more tokens are kept.
    #[error("the simulator keeps at most {} handshakes", book::TOKENS_MAX)]
    Full,
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

/// A simulated Amazon SNS. It serves until it is dropped.
pub struct SimulatedSns {
    origin: String,
    signer: Arc<Signer>,
    signing_cert_url: String,
    client: reqwest::Client,
    policy: DeliveryPolicy,
    book: Arc<Book>,
    // Ends the serving task.
    _serving: tokio::sync::oneshot::Sender<()>,
}

impl SimulatedSns {
    /// Makes a key and a certificate, and serves on `address`. Delivers by Amazon SNS's default policy, ten times faster.
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
        let day = Duration::from_secs(86_400);
        let pem = SimulatedCa::new()?.issue("sns.amazonaws.com", &signer, now - day, now + day)?;
        let certificate_path = certificate_path(&pem, &origin)?;
        let signing_cert_url = format!("{origin}{certificate_path}");
        let book = Arc::new(Book::new(certificate_path, pem));
        let (serving, stopped) = tokio::sync::oneshot::channel();
        tokio::spawn(serve::run(listener, book.clone(), stopped));
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(SimulatorError::Client)?;
        Ok(Self {
            origin,
            signer: Arc::new(signer),
            signing_cert_url,
            client,
            policy: DeliveryPolicy::AWS_DEFAULT.scaled(0.1),
            book,
            _serving: serving,
        })
    }

    /// Delivers by `policy` from now on.
    #[must_use]
    pub fn with_policy(self, policy: DeliveryPolicy) -> Self {
        Self { policy, ..self }
    }

    /// What the receiver must be told to trust.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A Notification, its signature spoilt if asked for.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn notification(
        &self,
        topic: &TopicArn,
        publication: &Publication,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        let subscription = new_subscription(topic)?;
        self.sign(
            draft(publication, &subscription, Timestamp::now()),
            publication.signature_version,
            spoil,
        )
    }

    /// A raw message: no envelope, no signature.
    ///
    /// # Errors
    /// When `topic` cannot have a subscription.
    pub fn raw(&self, topic: &TopicArn, publication: &Publication) -> Result<Post, SimulatorError> {
        Ok(raw(publication, &new_subscription(topic)?))
    }

    /// A SubscriptionConfirmation, its signature spoilt if asked for.
    ///
    /// # Errors
    /// When it cannot be signed, or too many are kept.
    pub fn confirmation(
        &self,
        topic: &TopicArn,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        let subscription = new_subscription(topic)?;
        self.handshake(
            MessageType::SubscriptionConfirmation,
            &subscription,
            version,
            spoil,
        )
    }

    /// An UnsubscribeConfirmation, its signature spoilt if asked for.
    ///
    /// # Errors
    /// When it cannot be signed, or too many are kept.
    pub fn unsubscription(
        &self,
        topic: &TopicArn,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        let subscription = new_subscription(topic)?;
        self.handshake(
            MessageType::UnsubscribeConfirmation,
            &subscription,
            version,
            spoil,
        )
    }

    fn handshake(
        &self,
        kind: MessageType,
        subscription: &SubscriptionArn,
        version: SignatureVersion,
        spoil: bool,
    ) -> Result<Post, SimulatorError> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut rng = rand::rng();
        let token: String = (0..128)
            .map(|_| char::from(HEX[rng.random_range(0..HEX.len())]))
            .collect();
        let parsed = ConfirmToken::parse(&token).map_err(|_| SimulatorError::Certificate)?;
        self.book.expect(token, Pending(subscription.clone()))?;
        let id = uuid::Uuid::new_v4().to_string();
        let mut draft =
            Draft::confirmation(kind, subscription.topic(), &id, &parsed, Timestamp::now());
        if kind == MessageType::UnsubscribeConfirmation {
            draft.subscription_arn = Some(subscription.clone());
        }
        self.sign(draft, version, spoil)
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
}

fn draft(publication: &Publication, subscription: &SubscriptionArn, at: Timestamp) -> Draft {
    let id = publication
        .message_id
        .clone()
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let topic = subscription.topic();
    let mut draft = Draft::notification(topic, &id, &publication.message, at);
    draft.subject.clone_from(&publication.subject);
    draft.attributes = publication.attributes.clone();
    draft.subscription_arn = Some(subscription.clone());
    draft
}

fn raw(publication: &Publication, subscription: &SubscriptionArn) -> Post {
    let draft = draft(publication, subscription, Timestamp::now());
    Post {
        signed: draft.raw(),
        message_id: draft.message_id,
    }
}

fn new_subscription(topic: &TopicArn) -> Result<SubscriptionArn, SimulatorError> {
    SubscriptionArn::parse(&format!("{topic}:{}", uuid::Uuid::new_v4()))
        .map_err(|_| SimulatorError::Certificate)
}

/// The path of a certificate: of a form that receivers take, and another one for each certificate, since they keep what
/// they fetched from a path.
fn certificate_path(pem: &str, origin: &str) -> Result<String, SimulatorError> {
    let wrong = |()| SimulatorError::Certificate;
    let origin: TrustedOrigin = origin.parse().map_err(|_| wrong(()))?;
    let topic = TopicArn::parse("arn:aws:sns:us-east-1:123456789012:any").map_err(|_| wrong(()))?;
    let probe = format!("{origin}/SimpleNotificationService-{}.pem", "0".repeat(32));
    let policy = TrustPolicy {
        trusted_origins: vec![origin],
    };
    let location =
        signalbox_sns::SigningCertUrl::parse(&probe, &topic, &policy).map_err(|_| wrong(()))?;
    let expected: &ExpectedName = location.expected_name();
    let certificate =
        SigningCertificate::from_pem(pem.as_bytes(), expected).map_err(|_| wrong(()))?;
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
