//! An Amazon SNS of the tests' own: a signer with a certificate, and an origin that serves it and confirms.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use signalbox_sns::{
    ConfirmToken, MessageType, TopicArn,
    signer::{Draft, SignedMessage, Signer, SimulatedCa},
};

pub const ORDERS: &str = "arn:aws:sns:us-east-1:123456789012:orders";
pub const STRANGER: &str = "arn:aws:sns:us-east-1:999999999999:orders";
pub const CERTIFICATE: &str = "/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";
pub const TOKEN: &str = "2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92";

pub static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().unwrap());

/// A certificate of [`SIGNER`] that is valid for `days` from now, or was valid until that many days ago.
pub fn certificate(days: i64) -> String {
    let now = Timestamp::now();
    let day = |days: i64| now + SignedDuration::from_hours(24 * days);
    let (from, until) = (day(days.min(0) - 10), day(days));
    let ca = SimulatedCa::new().unwrap();
    ca.issue("sns.amazonaws.com", &SIGNER, from, until).unwrap()
}

/// What the origin answers at one path (or, for confirmations, at `confirm`).
#[derive(Clone)]
pub struct Scripted {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub delay: Duration,
}

impl Scripted {
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            delay: Duration::ZERO,
        }
    }
}

#[derive(Default)]
struct Script {
    /// Answers by path: taken in order, the last one stays.
    answers: HashMap<String, VecDeque<Scripted>>,
    /// Targets asked for, with their queries.
    asked: Vec<String>,
}

/// A server at a port of its own.
#[derive(Clone)]
pub struct Origin {
    pub url: String,
    script: Arc<Mutex<Script>>,
}

impl Origin {
    /// Serves [`CERTIFICATE`], and confirms every subscription.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let origin = Self {
            url,
            script: Arc::default(),
        };
        origin.answer(CERTIFICATE, [Scripted::new(200, certificate(10))]);
        let served = origin.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let origin = served.clone();
                let service = service_fn(move |request| origin.clone().serve(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        origin
    }

    pub fn answer(&self, path: &str, answers: impl IntoIterator<Item = Scripted>) {
        let mut script = self.script.lock().unwrap();
        script
            .answers
            .insert(path.to_owned(), answers.into_iter().collect());
    }

    /// Targets asked for so far.
    pub fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }

    /// How often a target that starts so was asked for.
    pub fn asked_for(&self, start: &str) -> usize {
        self.asked()
            .iter()
            .filter(|target| target.starts_with(start))
            .count()
    }

    async fn serve(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (path, target) = (request.uri().path().to_owned(), request.uri().to_string());
        let scripted = {
            let mut script = self.script.lock().unwrap();
            script.asked.push(target.clone());
            match script.answers.get_mut(&path) {
                Some(answers) if answers.len() > 1 => answers.pop_front(),
                Some(answers) => answers.front().cloned(),
                None => None,
            }
        };
        let scripted = scripted.unwrap_or_else(|| confirmed(&target));
        tokio::time::sleep(scripted.delay).await;
        let mut response = Response::builder().status(scripted.status);
        for (name, value) in scripted.headers {
            response = response.header(name, value);
        }
        Ok(response.body(Full::new(scripted.body)).unwrap())
    }
}

/// The answer of ConfirmSubscription, as LocalStack and AWS write it.
pub fn confirmation_of(topic: &str) -> String {
    format!(
        "<?xml version='1.0' encoding='utf-8'?>\n<ConfirmSubscriptionResponse \
         xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><ConfirmSubscriptionResult><SubscriptionArn>{topic}:\
         5f0c5b7a-6ee0-4a7a-8f7d-1f4f4d1c2b3a</SubscriptionArn></ConfirmSubscriptionResult><ResponseMetadata>\
         <RequestId>r</RequestId></ResponseMetadata></ConfirmSubscriptionResponse>"
    )
}

fn confirmed(target: &str) -> Scripted {
    let url = url::Url::parse(&format!("http://origin{target}")).unwrap();
    let query: HashMap<_, _> = url.query_pairs().into_owned().collect();
    match query.get("TopicArn") {
        Some(topic)
            if query
                .get("Action")
                .is_some_and(|a| a == "ConfirmSubscription") =>
        {
            Scripted::new(200, confirmation_of(topic))
        }
        _ => Scripted::new(404, "no"),
    }
}

impl Origin {
    /// A Notification of [`ORDERS`], its certificate here.
    pub fn notification(&self, id: &str, message: &str) -> Draft {
        self.of_topic(ORDERS, id, message)
    }

    pub fn of_topic(&self, topic: &str, id: &str, message: &str) -> Draft {
        let topic = TopicArn::parse(topic).unwrap();
        self.at(Draft::notification(&topic, id, message, Timestamp::now()))
    }

    pub fn confirmation(&self, kind: MessageType, topic: &str, token: &str) -> Draft {
        let topic = TopicArn::parse(topic).unwrap();
        let token = ConfirmToken::parse(token).unwrap();
        let id = format!("confirmation-{}", &token.expose()[..8]);
        self.at(Draft::confirmation(
            kind,
            &topic,
            &id,
            &token,
            Timestamp::now(),
        ))
    }

    fn at(&self, draft: Draft) -> Draft {
        Draft {
            signing_cert_url: format!("{}{CERTIFICATE}", self.url),
            endpoint: self.url.clone(),
            ..draft
        }
    }
}

pub fn sign(draft: &Draft) -> SignedMessage {
    draft.sign(&SIGNER).unwrap()
}
