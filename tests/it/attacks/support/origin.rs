//! An SNS of our own that the node trusts: it serves certificates and confirms subscriptions, and misbehaves on demand.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// What is answered to one request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// 200 with this body.
    Body(Vec<u8>),
    /// These bytes as they are, then the end.
    Raw(Vec<u8>),
    /// 200 and as many bytes; chunked, so that nothing announces them, or announced.
    Flood { bytes: u64, announced: bool },
    /// 200 and a byte each second.
    Drip,
    /// Nothing, ever.
    Silence,
}

type Routes = Box<dyn Fn(&str) -> Option<Reply> + Send + Sync>;

/// A running origin.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    certificate: String,
    routes: Mutex<Routes>,
    hits: Mutex<Vec<String>>,
    now: AtomicUsize,
    most: AtomicUsize,
    flooded: AtomicU64,
}

impl Origin {
    /// Serves `certificate` at [`Origin::certificate_url`]; anything else is 404 until [`Origin::route`].
    pub(crate) async fn start(certificate: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            certificate,
            routes: Mutex::new(Box::new(|_| None)),
            hits: Mutex::default(),
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            flooded: AtomicU64::new(0),
        });
        let kept = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, kept.clone()));
            }
        });
        Self { addr, shared }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    pub(crate) fn certificate_url(&self) -> String {
        self.url(&path_of(5))
    }

    /// What to answer to paths that are not the good certificate's.
    pub(crate) fn route(&self, routes: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) {
        *self.shared.routes.lock().unwrap() = Box::new(routes);
    }

    /// Every target that was asked for, in order.
    pub(crate) fn hits(&self) -> Vec<String> {
        self.shared.hits.lock().unwrap().clone()
    }

    /// How often a path was asked for.
    pub(crate) fn hits_of(&self, path: &str) -> usize {
        self.hits().iter().filter(|hit| *hit == path).count()
    }

    /// The most requests that were open at one time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Bytes of floods that somebody took.
    pub(crate) fn flooded_bytes(&self) -> u64 {
        self.shared.flooded.load(Ordering::SeqCst)
    }
}

/// A path as Amazon SNS names its certificates.
pub(crate) fn path_of(number: u32) -> String {
    format!("/SimpleNotificationService-{number:032x}.pem")
}

struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn begin(shared: &'a Shared) -> Self {
        let now = shared.now.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most.fetch_max(now, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    shared.hits.lock().unwrap().push(target.clone());
    let _open = Open::begin(&shared);
    let reply = reply_to(&shared, &target);
    let (mut read, mut write) = stream.split();
    // Who is asked may go away; what is not read would be kept from us for ever.
    tokio::select! {
        _ = answer(&mut write, reply, &shared) => {}
        _ = read.read_u8() => {}
    }
}

fn reply_to(shared: &Shared, target: &str) -> Reply {
    if target == path_of(5) {
        return Reply::Body(shared.certificate.clone().into_bytes());
    }
    if let Some(reply) = (shared.routes.lock().unwrap())(target) {
        return reply;
    }
    if let Some(topic) = query_value(target, "TopicArn")
        && target.starts_with("/?Action=ConfirmSubscription&")
    {
        let arn = format!("{topic}:a6f8ee50-ca7f-42de-b1d8-2b9a3a3a1c49");
        return Reply::Body(
            format!(
                "<ConfirmSubscriptionResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">\
                 <ConfirmSubscriptionResult><SubscriptionArn>{arn}</SubscriptionArn></ConfirmSubscriptionResult>\
                 </ConfirmSubscriptionResponse>"
            )
            .into_bytes(),
        );
    }
    Reply::Raw(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec())
}

/// A value of a target's query, decoded.
pub(crate) fn query_value(target: &str, name: &str) -> Option<String> {
    let url = reqwest::Url::parse(&format!("http://origin{target}")).ok()?;
    url.query_pairs()
        .find(|(found, _)| found == name)
        .map(|(_, value)| value.into_owned())
}

async fn answer(
    stream: &mut (impl tokio::io::AsyncWrite + Unpin),
    reply: Reply,
    shared: &Shared,
) -> std::io::Result<()> {
    match reply {
        Reply::Body(body) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(&[head.as_bytes(), &body].concat()).await?;
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).await?,
        Reply::Flood { bytes, announced } => {
            let framing = if announced {
                format!("content-length: {bytes}")
            } else {
                // Until the end of the connection (RFC 9112 §6.3).
                "connection: close".to_owned()
            };
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let block = vec![b'x'; 64 * 1024];
            for _ in 0..bytes / block.len() as u64 {
                stream.write_all(&block).await?;
                shared
                    .flooded
                    .fetch_add(block.len() as u64, Ordering::SeqCst);
            }
        }
        Reply::Drip => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1500\r\n\r\n")
                .await?;
            loop {
                stream.write_all(b"-").await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Reply::Silence => std::future::pending().await,
    }
    stream.shutdown().await
}

/// A listener that nobody may call; counts who does.
#[derive(Clone, Debug)]
pub(crate) struct Elsewhere {
    pub(crate) addr: SocketAddr,
    calls: Arc<AtomicUsize>,
}

impl Elsewhere {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { addr, calls }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}
