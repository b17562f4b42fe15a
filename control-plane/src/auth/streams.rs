//! Ends the streams of a token that counts no more: what was allowed when they began is not allowed for ever.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body::{Frame, SizeHint};
use signalbox_model::error::Error;
use signalbox_proto::convert::status::to_status;
use tonic::{Status, body::Body};

/// The methods whose answers last.
pub(super) const STREAMS: [&str; 4] = [
    "/signalbox.v1.ExecutionService/WatchExecution",
    "/signalbox.v1.ExecutionService/WatchExecutions",
    "/signalbox.dataplane.v1.SyncService/Sync",
    "/signalbox.dataplane.v1.ReportService/Report",
];

pub(super) fn lasts(path: &str) -> bool {
    STREAMS.contains(&path)
}

/// Ends when a token counts no more: why.
pub(super) type End = BoxFuture<'static, Error>;

/// An answer that ends, as UNAUTHENTICATED, with the token that it was given for.
pub(super) struct WhileCounts {
    /// None: it has ended.
    body: Option<Body>,
    end: End,
}

impl WhileCounts {
    pub(super) fn new(body: Body, end: End) -> Self {
        Self {
            body: Some(body),
            end,
        }
    }

    pub(super) fn into_body(self) -> Body {
        Body::new(self)
    }
}

impl http_body::Body for WhileCounts {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        // First: whoever always has something to say would never be told.
        let Poll::Ready(why) = this.end.as_mut().poll(context) else {
            return Pin::new(body).poll_frame(context);
        };
        // What the method had to say is dropped, and with it what it holds.
        this.body = None;
        let status = to_status(why);
        let mut trailers = http::HeaderMap::new();
        Poll::Ready(Some(
            status
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        // Where it is not said that nothing follows, an empty DATA frame does: clients take that for a broken answer.
        self.body
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Some(body) => body.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn every_answer_that_lasts_ends_with_its_token() {
        let pool = prost_reflect::DescriptorPool::decode(signalbox_proto::DESCRIPTORS).unwrap();
        let mut last: Vec<String> = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>())
            .filter(|method| method.is_server_streaming())
            .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
            .collect();
        let mut known = STREAMS.map(str::to_owned);
        last.sort();
        known.sort();
        assert_eq!(last, known);
    }
}
