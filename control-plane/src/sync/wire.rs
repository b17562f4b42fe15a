//! What is sent to nodes, encoded before it is sent: what all nodes are sent is encoded once, and its bytes are shared.
//!
//! The service is the generated one but for its codec, which writes bytes where the generated one would encode a message for
//! each stream anew.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::future::BoxFuture;
use http_body::Body;
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use signalbox_proto::dataplane::v1::{
    ConfigUpdate, SyncRequest, SyncResponse, sync_response, sync_service_server::SERVICE_NAME,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, StreamingService},
};

use super::Hub;

const PATH: &str = "/signalbox.dataplane.v1.SyncService/Sync";
/// Number of `SyncResponse.config`.
const CONFIG: u32 = 1;
/// A key and a length.
const HEAD_MAX_BYTES: usize = 16;
/// Size of a message from a node: a Nack that refuses much.
const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A `SyncResponse`, encoded.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    own: Bytes,
    shared: Bytes,
}

impl Encoded {
    /// Of a message for one node.
    pub(super) fn message(message: sync_response::Message) -> Self {
        let response = SyncResponse {
            message: Some(message),
        };
        Self {
            own: response.encode_to_vec().into(),
            shared: Bytes::new(),
        }
    }

    /// Of an update whose fields are those of `own`, which is for one node, and those of `shared`, an encoded `ConfigUpdate`:
    /// encodings one behind the other are the encoding of both together.
    pub(super) fn config(own: &ConfigUpdate, shared: Bytes) -> Self {
        let own = own.encode_to_vec();
        let mut bytes = BytesMut::with_capacity(HEAD_MAX_BYTES + own.len());
        encode_key(CONFIG, WireType::LengthDelimited, &mut bytes);
        encode_varint((own.len() + shared.len()) as u64, &mut bytes);
        bytes.put_slice(&own);
        Self {
            own: bytes.freeze(),
            shared,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct SyncCodec;

impl Codec for SyncCodec {
    type Encode = Encoded;
    type Decode = SyncRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for SyncCodec {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, item: Encoded, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.own.len() + item.shared.len());
        to.put(item.own);
        to.put(item.shared);
        Ok(())
    }
}

impl Decoder for SyncCodec {
    type Item = SyncRequest;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<SyncRequest>, Status> {
        SyncRequest::decode(from)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

/// Serves a [`Hub`].
#[derive(Clone, Debug)]
pub struct SyncServer(pub(super) Hub);

impl NamedService for SyncServer {
    const NAME: &'static str = SERVICE_NAME;
}

/// Its only method.
struct Call(Hub);

impl StreamingService<SyncRequest> for Call {
    type Response = Encoded;
    type ResponseStream = ReceiverStream<Result<Encoded, Status>>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<SyncRequest>>) -> Self::Future {
        let hub = self.0.clone();
        Box::pin(async move { hub.sync(request).await })
    }
}

impl<B> tower::Service<http::Request<B>> for SyncServer
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let hub = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != PATH {
                let unknown = Status::unimplemented("SyncService has no such method");
                return Ok(unknown.into_http());
            }
            let mut grpc = Grpc::new(SyncCodec).max_decoding_message_size(REQUEST_MAX_BYTES);
            Ok(grpc.streaming(Call(hub), request).await)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use signalbox_proto::dataplane::v1::{KeyConfig, Resource, resource};

    use super::*;

    fn key(id: &str) -> Resource {
        let key = KeyConfig {
            name: format!("projects/default/apiKeys/{id}"),
            digest: vec![7; 32].into(),
            ..KeyConfig::default()
        };
        Resource {
            kind: Some(resource::Kind::Key(key)),
        }
    }

    fn decoded(encoded: &Encoded) -> SyncResponse {
        let bytes = [&encoded.own[..], &encoded.shared[..]].concat();
        SyncResponse::decode(&bytes[..]).unwrap()
    }

    #[test]
    fn what_is_shared_and_what_is_a_nodes_own_are_one_message() {
        let shared = ConfigUpdate {
            incarnation: "i".to_owned(),
            revision: 7,
            snapshot: true,
            last: true,
            upserts: (0..1000).map(|n| key(&format!("k{n}"))).collect(),
            deletes: vec!["projects/default/apiKeys/gone".to_owned()],
            ..ConfigUpdate::default()
        };
        let own = ConfigUpdate {
            nonce: "9".to_owned(),
            upserts: vec![key("own")],
            ..ConfigUpdate::default()
        };
        let bytes = Bytes::from(shared.encode_to_vec());
        let encoded = Encoded::config(&own, bytes.clone());
        let mut expected = shared;
        expected.nonce.clone_from(&own.nonce);
        expected.upserts.insert(0, key("own"));
        let message = Some(sync_response::Message::Config(expected));
        assert_eq!(decoded(&encoded), SyncResponse { message });
        // The bytes are those of every other node's.
        assert_eq!(encoded.shared.as_ptr(), bytes.as_ptr());
    }

    #[test]
    fn other_messages_are_as_they_are() {
        let heartbeat = sync_response::Message::Heartbeat(Default::default());
        let message = Some(heartbeat.clone());
        let encoded = Encoded::message(heartbeat);
        assert_eq!(decoded(&encoded), SyncResponse { message });
    }
}
