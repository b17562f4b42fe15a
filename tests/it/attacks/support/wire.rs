//! HTTP/1.1 by hand: what no library would send.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpSocket, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::Letter;

/// No answer takes longer than this: ours come within Amazon SNS's 15 seconds.
const LIMIT: Duration = Duration::from_secs(40);

/// A request as it goes out.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// What `Content-Length` says instead of the body's length; nothing at all when the caller wrote a framing header.
    pub(crate) announced: Option<usize>,
}

impl Post {
    /// As Amazon SNS posts it.
    pub(crate) fn of(target: &str, letter: &Letter) -> Self {
        Self {
            method: "POST".to_owned(),
            target: target.to_owned(),
            headers: letter.headers.clone(),
            body: letter.body().into_bytes(),
            announced: None,
        }
    }

    /// With another body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn target(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: webhooks\r\n",
            self.method, self.target
        );
        let mut framed = false;
        for (name, value) in &self.headers {
            framed |= matches!(name.as_str(), "content-length" | "transfer-encoding");
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !framed {
            let length = self.announced.unwrap_or(self.body.len());
            head.push_str(&format!("content-length: {length}\r\n"));
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The end of the problem's `type`; empty when it is none.
    pub(crate) fn reason(&self) -> String {
        let json = self.json();
        let kind = json["type"].as_str().unwrap_or_default();
        kind.rsplit('/').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn trace_id(&self) -> String {
        self.json()["trace_id"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn execution(&self) -> String {
        self.json()["execution"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(crate) fn is_duplicate(&self) -> bool {
        self.json()["duplicate"] == true
    }
}

/// A connection, its halves, and what was read ahead.
pub(crate) struct Wire {
    read: OwnedReadHalf,
    write: Option<OwnedWriteHalf>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).await.unwrap())
    }

    pub(crate) fn over(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            read,
            write: Some(write),
            buffer: Vec::new(),
        }
    }

    /// Writes; says whether the peer took it: one that has answered and gone need not.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match &mut self.write {
            Some(write) => write.write_all(bytes.as_ref()).await.is_ok(),
            None => false,
        }
    }

    /// Ends our side.
    pub(crate) async fn finish(&mut self) {
        if let Some(mut write) = self.write.take() {
            let _ = write.shutdown().await;
        }
    }

    /// The next answer; none when the connection ended without.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(LIMIT, self.read_answer())
            .await
            .expect("an answer in time, or the end of the connection")
    }

    async fn read_answer(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = complete(&self.buffer) {
                self.buffer.drain(..length);
                return Some(answer);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Option<()> {
        match self.read.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    /// Whatever comes until the end of the connection, which must come.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        tokio::time::timeout(LIMIT, async { while self.fill().await.is_some() {} })
            .await
            .expect("the connection to end");
        std::mem::take(&mut self.buffer)
    }
}

/// A connection from one of many loopback addresses: no share of one address may be what ends a crowd.
pub(crate) async fn connect_from(source: usize, addr: SocketAddr) -> std::io::Result<TcpStream> {
    let host = u8::try_from(2 + source % 250).unwrap_or(2);
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, host], 0).into())?;
    socket.connect(addr).await
}

/// Like [`exchange`], as one of a crowd.
pub(crate) async fn exchange_from(
    source: usize,
    addr: SocketAddr,
    bytes: Vec<u8>,
) -> Option<Answer> {
    exchange_over(connect_from(source, addr).await.ok()?, bytes).await
}

/// One request on a connection of its own; no answer where nobody listens. It goes out while the answer is awaited: who refuses early must be heard.
pub(crate) async fn exchange(addr: SocketAddr, bytes: Vec<u8>) -> Option<Answer> {
    exchange_over(TcpStream::connect(addr).await.ok()?, bytes).await
}

async fn exchange_over(stream: TcpStream, bytes: Vec<u8>) -> Option<Answer> {
    let mut wire = Wire::over(stream);
    let mut write = wire.write.take()?;
    let writer = tokio::spawn(async move {
        let _ = write.write_all(&bytes).await;
        // Held: closing our side would tell the peer that nobody listens.
        std::future::pending::<()>().await;
    });
    let answer = wire.answer().await;
    writer.abort();
    answer
}

/// The answer at the start of `bytes` and its length, if it is whole.
fn complete(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status,
        headers,
        body: String::new(),
    };
    let length: usize = answer
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let whole = end + 4 + length;
    answer.body = String::from_utf8_lossy(bytes.get(end + 4..whole)?).into_owned();
    Some((answer, whole))
}
