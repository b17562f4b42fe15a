//! Reads the bodies of requests, and keeps one sender's from being all that is read.
//!
//! A body may take seconds, and costs its sender nothing while it does. Who has a live key may begin as many as there may be
//! requests under way, so that nobody else's would be taken: of these, a key has a share. So it has of the memory that all
//! bodies together may take until they are durable, which is less than so many of the largest size. What a sender announces is
//! counted at once, whatever comes of it; of what it does not, what has come.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header::CONTENT_ENCODING};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use signalbox_model::limits;

use crate::{
    config::Usage,
    in_use::InUse,
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
    /// Size of all together that are not durable yet, in bytes, of which a quarter may be one key's.
    pub held_max_bytes: usize,
}

impl BodyLimits {
    /// Usual [`Self::held_max_bytes`].
    pub const HELD_MAX_BYTES: usize = 256 * 1024 * 1024;
    /// The least that it may be: one body of the largest size is no more than a key's share.
    pub const HELD_MAX_BYTES_MIN: usize = 4 * limits::BODY_MAX_BYTES;
}

/// The bodies that are on their way in.
#[derive(Debug)]
pub struct Bodies {
    limits: BodyLimits,
    held_bytes: InUse,
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
    NoRoom(NoRoom),
}

/// For whom there is none.
enum NoRoom {
    Key,
    Anybody,
}

impl Bodies {
    /// Within `limits`.
    #[must_use]
    pub fn new(limits: BodyLimits) -> Self {
        Self {
            limits,
            held_bytes: InUse::default(),
        }
    }

    /// The body of a request that was let in by the key with this usage, and what it counts until it is durable, or nothing
    /// comes of it.
    pub(super) async fn read(
        &self,
        usage: &Arc<Usage>,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Bytes, Held<'_>), Unread> {
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
        let mut held = Held::none(self, usage);
        let whole = self.whole(body, &mut held);
        match tokio::time::timeout(self.limits.timeout, whole).await {
            Ok(Ok(body)) => Ok((body, held)),
            Ok(Err(Broken::TooLarge)) => Err(self.too_large()),
            Ok(Err(Broken::NoRoom(NoRoom::Key))) => Err(overloaded(
                "bodies of requests with the API key take too much of the node's memory; try again",
            )),
            Ok(Err(Broken::NoRoom(NoRoom::Anybody))) => Err(overloaded(
                "bodies take as much of the node's memory as they may; try again",
            )),
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
    async fn whole(&self, mut body: Incoming, held: &mut Held<'_>) -> Result<Bytes, Broken> {
        let announced = body.size_hint().exact();
        let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
        held.grow(announced.unwrap_or_default())?;
        let (mut one, mut all) = (Bytes::new(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Broken::Off)?.into_data() else {
                continue;
            };
            let bytes = one.len() + all.len() + data.len();
            if bytes > self.limits.max_bytes {
                return Err(Broken::TooLarge);
            }
            held.grow(bytes.saturating_sub(held.bytes))?;
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

/// What a body counts of the memory that all may take, and those of its key.
pub(super) struct Held<'a> {
    bodies: &'a Bodies,
    usage: Arc<Usage>,
    bytes: usize,
}

impl<'a> Held<'a> {
    fn none(bodies: &'a Bodies, usage: &Arc<Usage>) -> Self {
        Self {
            bodies,
            usage: usage.clone(),
            bytes: 0,
        }
    }

    fn grow(&mut self, more: usize) -> Result<(), Broken> {
        let max = self.bodies.limits.held_max_bytes;
        if !self.usage.body_bytes().take(more, max / 4) {
            return Err(Broken::NoRoom(NoRoom::Key));
        }
        if !self.bodies.held_bytes.take(more, max) {
            self.usage.body_bytes().give_back(more);
            return Err(Broken::NoRoom(NoRoom::Anybody));
        }
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bodies.held_bytes.give_back(self.bytes);
        self.usage.body_bytes().give_back(self.bytes);
    }
}

/// A body's place among those of its key that are being read.
struct Place<'a>(&'a Usage);

impl<'a> Place<'a> {
    fn take(usage: &'a Usage, max: usize) -> Option<Self> {
        // Not `then_some`: a place that was never taken would be given back.
        usage.bodies().take(1, max).then(|| Self(usage))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.bodies().give_back(1);
    }
}
