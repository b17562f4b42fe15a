//! gRPC without a client that knows better: with any token, and by hand, over HTTP/2, which shows what an answer is made of.

use bytes::Bytes;
use http::HeaderMap;
use tokio::net::TcpStream;

/// A request of a generated client, with a token.
///
/// # Panics
/// When the token is none.
pub fn with_token<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

/// How an answer begins.
#[derive(Debug)]
pub struct Answer {
    /// Its first headers.
    pub headers: HeaderMap,
    /// Whether END_STREAM is on them.
    pub ends_there: bool,
    body: h2::RecvStream,
}

impl Answer {
    /// The only message of an answer that has one.
    ///
    /// # Panics
    /// When it has none.
    pub async fn message(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(part) = self.body.data().await {
            let part = part.unwrap();
            self.body
                .flow_control()
                .release_capacity(part.len())
                .unwrap();
            all.extend_from_slice(&part);
        }
        assert!(all.len() >= PREFIX_BYTES, "no message: {:?}", self.headers);
        all.split_off(PREFIX_BYTES)
    }
}

/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// Calls `path` at `endpoint` with one message, and no more.
///
/// # Panics
/// When the connection fails.
pub async fn call(endpoint: &str, path: &str, token: Option<&str>, message: &[u8]) -> Answer {
    let authority = endpoint.strip_prefix("http://").unwrap();
    let stream = TcpStream::connect(authority).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut request = http::Request::post(format!("{endpoint}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let (answer, mut body) = client
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, message].concat();
    body.send_data(Bytes::from(framed), true).unwrap();
    let (head, body) = answer.await.unwrap().into_parts();
    Answer {
        headers: head.headers,
        // What came behind the headers waits in it, if it is only an empty frame: then it has not ended.
        ends_there: body.is_end_stream(),
        body,
    }
}
