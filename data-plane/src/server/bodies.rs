//! Reads the bodies of requests, and keeps one sender's from being all that is read.
//!
//! A body may take seconds, and costs its sender nothing while it does. Who has a live key may begin as many as there may be
//! requests under way, so that nobody else's would be taken: of these, a key has a share.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header::CONTENT_ENCODING};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use crate::{
    config::Usage,
    ingest::{Problem, Standing},
};

/// What bodies may take.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Size of one, in bytes.
    pub max_bytes: usize,
    /// How long one may take.
    pub timeout: Duration,
    /// Requests under way at once, of which a quarter may be those of one key whose bodies are being read.
    pub in_flight_max: usize,
}

/// The bodies that are on their way in.
#[derive(Debug)]
pub struct Bodies {
    limits: BodyLimits,
}

/// Why there is no body, and how that is recorded.
pub(super) struct Unread {
    pub(super) problem: Problem,
    pub(super) standing: Standing,
}

impl From<Problem> for Unread {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            standing: Standing::Caller,
        }
    }
}

/// What keeps a body from being whole.
enum Broken {
    TooLarge,
    Off,
}

impl Bodies {
    /// Within `limits`.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        Self { limits }
    }

    /// The body of a request that was let in by the key with this usage.
    pub(super) async fn read(
        &self,
        usage: &Usage,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Bytes, Unread> {
        // Amazon SNS never compresses, and what is not inflated cannot be a bomb.
        let encodings = headers.get_all(CONTENT_ENCODING);
        if encodings
            .iter()
            .any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Unread::from(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-encoding-unsupported",
                "send the body as it is, without Content-Encoding",
            )));
        }
        let announced = body.size_hint().exact();
        if announced.is_some_and(|length| length > self.limits.max_bytes as u64) {
            return Err(self.too_large());
        }
        let Some(_place) = Place::take(usage, self.of_key_max()) else {
            return Err(overloaded(
                "too many bodies of requests with the API key are still on their way; try again",
            ));
        };
        match tokio::time::timeout(self.limits.timeout, self.whole(body)).await {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(Broken::TooLarge)) => Err(self.too_large()),
            // Broken off or too slow: whether the sender means to try again is its to say (invariant I4).
            Ok(Err(Broken::Off)) => Err(Unread::from(Problem::unavailable(
                "body-broken",
                "the body broke off; try again",
            ))),
            Err(_) => Err(Unread::from(Problem::unavailable(
                "body-timeout",
                "the body came too slowly; try again",
            ))),
        }
    }

    fn of_key_max(&self) -> usize {
        (self.limits.in_flight_max / 4).max(1)
    }

    /// Its parts are put together as they come, since each may be of one byte and keep a buffer of the connection's; a body of
    /// one part, which nearly all are, is taken as it is.
    async fn whole(&self, mut body: Incoming) -> Result<Bytes, Broken> {
        let announced = body.size_hint().exact();
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        let (mut one, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Broken::Off)?.into_data() else {
                continue;
            };
            let bytes = one.len() + all.len() + data.len();
            if bytes > self.limits.max_bytes {
                return Err(Broken::TooLarge);
            }
            if bytes == data.len() && announced == Some(bytes) {
                one = data;
                continue;
            }
            if all.is_empty() {
                all.reserve(announced.unwrap_or(bytes));
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { one } else { all.freeze() })
    }

    fn too_large(&self) -> Unread {
        Unread::from(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            format!("the body has more than {} bytes", self.limits.max_bytes),
        ))
    }
}

/// Each says the same as the one before.
fn overloaded(detail: &'static str) -> Unread {
    Unread {
        problem: Problem::unavailable("overloaded", detail),
        standing: Standing::OverRate,
    }
}

/// A body's place among those of its key that are being read.
struct Place<'a>(&'a Usage);

impl<'a> Place<'a> {
    fn take(usage: &'a Usage, max: usize) -> Option<Self> {
        usage.bodies().take(1, max).then_some(Self(usage))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.bodies().give_back(1);
    }
}
