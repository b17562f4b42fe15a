//! An SMTP server (RFC 5321) with STARTTLS (RFC 3207), TLS from the start (RFC 8314) and AUTH PLAIN (RFC 4954), that keeps
//! what it is given.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// How it is.
#[derive(Clone, Copy, Default)]
pub(super) struct Manner {
    /// TLS from the first byte on.
    pub(super) implicit: bool,
    /// Offers no STARTTLS.
    pub(super) plain: bool,
    /// Breaks the connection instead of taking the first message.
    pub(super) breaks_once: bool,
    /// Says nothing after it was greeted.
    pub(super) silent: bool,
}

/// A message that it took.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) login: Option<String>,
    pub(super) encrypted: bool,
    pub(super) text: String,
}

#[derive(Default)]
struct Seen {
    letters: Vec<Letter>,
    /// Commands without what they are about, of all connections.
    commands: Vec<String>,
    broken: bool,
}

/// A server on a loopback port.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    /// The authority of its certificate, which is for `localhost`.
    pub(super) ca_pem: String,
    seen: Arc<Mutex<Seen>>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(manner: Manner) -> Self {
        signalbox_runtime::tls::install_crypto_provider();
        let (acceptor, ca_pem) = acceptor();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let log = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let session = Session {
                    manner,
                    seen: log.clone(),
                    login: None,
                };
                tokio::spawn(session.serve(stream, acceptor.clone()));
            }
        });
        Self {
            addr,
            ca_pem,
            seen,
            task,
        }
    }

    pub(super) fn letters(&self) -> Vec<Letter> {
        self.seen.lock().unwrap().letters.clone()
    }

    pub(super) fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn acceptor() -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), issuer.pem())
}

/// How a conversation ends.
enum End {
    Over,
    StartTls,
}

struct Session {
    manner: Manner,
    seen: Arc<Mutex<Seen>>,
    login: Option<String>,
}

impl Session {
    async fn serve(mut self, stream: TcpStream, acceptor: TlsAcceptor) {
        if self.manner.implicit {
            if let Ok(stream) = acceptor.accept(stream).await {
                let mut stream = BufReader::new(stream);
                let _ = self.talk(&mut stream, true, true).await;
            }
            return;
        }
        let mut stream = BufReader::new(stream);
        if let Ok(End::StartTls) = self.talk(&mut stream, false, true).await
            && let Ok(stream) = acceptor.accept(stream.into_inner()).await
        {
            let mut stream = BufReader::new(stream);
            let _ = self.talk(&mut stream, true, false).await;
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut BufReader<S>,
        encrypted: bool,
        greets: bool,
    ) -> std::io::Result<End> {
        if greets {
            say(stream, "220 sink.test ESMTP").await?;
        }
        let (mut from, mut to) = (String::new(), Vec::new());
        loop {
            let line = line(stream).await?;
            let verb = line
                .split([' ', ':'])
                .next()
                .unwrap_or_default()
                .to_uppercase();
            self.seen.lock().unwrap().commands.push(verb.clone());
            let reply = match verb.as_str() {
                "EHLO" if self.manner.silent => std::future::pending().await,
                "EHLO" => {
                    let starttls = !encrypted && !self.manner.plain;
                    say(stream, "250-sink.test").await?;
                    if starttls {
                        say(stream, "250-STARTTLS").await?;
                    }
                    say(stream, "250-AUTH PLAIN").await?;
                    "250 8BITMIME".to_owned()
                }
                "STARTTLS" => {
                    say(stream, "220 go ahead").await?;
                    return Ok(End::StartTls);
                }
                "AUTH" => self.auth(&line),
                "MAIL" => {
                    from = address(&line);
                    "250 ok".to_owned()
                }
                "RCPT" => match address(&line) {
                    gone if gone.starts_with("gone") => "550 5.1.1 no such user".to_owned(),
                    busy if busy.starts_with("busy") => "450 4.2.1 not now".to_owned(),
                    fine => {
                        to.push(fine);
                        "250 ok".to_owned()
                    }
                },
                "DATA" => {
                    say(stream, "354 go ahead").await?;
                    let text = self::text(stream).await?;
                    if !self.takes() {
                        return Ok(End::Over);
                    }
                    let mut seen = self.seen.lock().unwrap();
                    seen.letters.push(Letter {
                        from: from.clone(),
                        to: std::mem::take(&mut to),
                        login: self.login.clone(),
                        encrypted,
                        text,
                    });
                    format!("250 2.0.0 queued as {}", seen.letters.len())
                }
                "QUIT" => {
                    say(stream, "221 bye").await?;
                    return Ok(End::Over);
                }
                _ => "502 5.5.1 what".to_owned(),
            };
            say(stream, &reply).await?;
        }
    }

    /// Whether it takes the message, or breaks the connection.
    fn takes(&self) -> bool {
        let mut seen = self.seen.lock().unwrap();
        let breaks = self.manner.breaks_once && !seen.broken;
        seen.broken |= breaks;
        !breaks
    }

    fn auth(&mut self, line: &str) -> String {
        let encoded = line.split(' ').nth(2).unwrap_or_default();
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
        let decoded = String::from_utf8(decoded.unwrap()).unwrap();
        let mut parts = decoded.split('\0').skip(1);
        let (user, password) = (parts.next().unwrap(), parts.next().unwrap());
        if password == "s3cret" {
            self.login = Some(user.to_owned());
            "235 welcome".to_owned()
        } else {
            "535 5.7.8 wrong".to_owned()
        }
    }
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    assert!(line.ends_with("\r\n"), "{line:?}");
    Ok(line.trim_end_matches("\r\n").to_owned())
}

/// Up to the line that is a dot, without what keeps other lines from being one.
async fn text<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<String> {
    let mut text = String::new();
    loop {
        let line = line(stream).await?;
        if line == "." {
            return Ok(text);
        }
        text.push_str(line.strip_prefix('.').unwrap_or(&line));
        text.push_str("\r\n");
    }
}

async fn say<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    text: &str,
) -> std::io::Result<()> {
    let line = format!("{text}\r\n");
    stream.get_mut().write_all(line.as_bytes()).await?;
    stream.get_mut().flush().await
}

fn address(line: &str) -> String {
    let inner = line.split_once('<').unwrap().1;
    inner.split_once('>').unwrap().0.to_owned()
}
