//! What a process takes from outside itself to decide by: the time of day, and chance.
//!
//! Whatever decides by either is given an [`Ambient`], so that a simulation can give it its own. Time that only passes is
//! [`tokio::time::Instant`], which the runtime of a simulation stands still for already.

use std::{fmt, sync::Arc};

use jiff::Timestamp;

/// The time of day and chance.
pub trait Ambient: fmt::Debug + Send + Sync + 'static {
    /// The time of day. It may be set, forwards and backwards.
    fn now(&self) -> Timestamp;

    /// 64 random bits. Not for secrets.
    fn random(&self) -> u64;

    /// A number from 0 to 1.
    fn fraction(&self) -> f64 {
        // 53 bits are what a double holds.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let bits = (self.random() >> 11) as f64;
        bits / (1_u64 << 53) as f64
    }
}

/// The system's.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl System {
    /// The same, to be given away.
    #[must_use]
    pub fn shared() -> Arc<dyn Ambient> {
        Arc::new(Self)
    }
}

impl Ambient for System {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> u64 {
        rand::random()
    }
}
