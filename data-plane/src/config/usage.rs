//! When, and from where, a key was last used: noted by every request, without a lock and without allocating, and read now and
//! then for the control plane. And what its requests take of the node.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, Ordering, fence},
    },
};

use jiff::Timestamp;
use signalbox_model::config::KeyConfig;

use super::Limited;
use crate::in_use::InUse;

/// Uses that come sooner than this after one that was noted, in microseconds, are not noted: so a key in heavy use costs each
/// request a look, and few a write.
const APART_US: i64 = 1_000_000;
/// What is reported of a key comes at least so long after what was reported of it before, in microseconds.
const REPORTS_APART_US: i64 = 60_000_000;

/// A use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastUse {
    /// When.
    pub time: Timestamp,
    /// Address of the sender.
    pub source: IpAddr,
}

/// The last use of a key, and what its requests take. The parts of the use are written between two changes of `version`, which is odd meanwhile (a sequence lock): who
/// reads the same even version before and after has parts of one use.
#[derive(Debug, Default)]
pub struct Usage {
    version: AtomicU64,
    /// Microseconds since the Unix epoch; 0: none.
    time_us: AtomicI64,
    /// The address as IPv6, in halves.
    source: [AtomicU64; 2],
    /// Time of the last use that the control plane has, in microseconds since the Unix epoch.
    reported_us: AtomicI64,
    /// Bodies that are being read.
    bodies: InUse,
    /// Bytes of those, and of others that are not durable yet.
    body_bytes: InUse,
}

impl Usage {
    /// Notes a use, unless one of the second before is noted, or another thread is noting one.
    fn note(&self, time: Timestamp, source: IpAddr) {
        let time_us = time.as_microsecond();
        // Before the time is looked at, so that nobody notes another unseen.
        let version = self.version.load(Ordering::Acquire);
        if time_us
            < self
                .time_us
                .load(Ordering::Relaxed)
                .saturating_add(APART_US)
        {
            return;
        }
        let is_free = version.is_multiple_of(2);
        let taken = is_free.then(|| {
            self.version.compare_exchange(
                version,
                version.wrapping_add(1),
                Ordering::Acquire,
                Ordering::Relaxed,
            )
        });
        if !matches!(taken, Some(Ok(_))) {
            return;
        }
        // No part is seen before the odd version.
        fence(Ordering::Release);
        self.time_us.store(time_us, Ordering::Relaxed);
        for (half, bits) in self.source.iter().zip(halves(source)) {
            half.store(bits, Ordering::Relaxed);
        }
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// The last use, but for one that is being noted.
    #[must_use]
    pub fn last(&self) -> Option<LastUse> {
        let version = self.version.load(Ordering::Acquire);
        let time_us = self.time_us.load(Ordering::Relaxed);
        let halves = [0, 1].map(|half: usize| self.source[half].load(Ordering::Relaxed));
        // No part is read after the version is.
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        if !is_whole || time_us == 0 {
            return None;
        }
        Some(LastUse {
            time: Timestamp::from_microsecond(time_us).ok()?,
            source: address(halves),
        })
    }

    /// The last use, when it is time to report it at `now`.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Option<LastUse> {
        let last = self.last()?;
        let reported_us = self.reported_us.load(Ordering::Relaxed);
        let is_new = last.time.as_microsecond() > reported_us;
        let is_time = now.as_microsecond() >= reported_us.saturating_add(REPORTS_APART_US);
        (is_new && is_time).then_some(last)
    }

    /// Bodies of its requests that are being read.
    #[must_use]
    pub fn bodies(&self) -> &InUse {
        &self.bodies
    }

    /// Bytes of bodies that are being read, or are not durable yet.
    #[must_use]
    pub fn body_bytes(&self) -> &InUse {
        &self.body_bytes
    }

    /// The control plane has the use of this time.
    pub fn reported(&self, time: Timestamp) {
        self.reported_us
            .fetch_max(time.as_microsecond(), Ordering::Relaxed);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "halves")]
fn halves(address: IpAddr) -> [u64; 2] {
    let address = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let bits = address.to_bits();
    [(bits >> 64) as u64, bits as u64]
}

fn address([high, low]: [u64; 2]) -> IpAddr {
    let bits = (u128::from(high) << 64) | u128::from(low);
    IpAddr::V6(Ipv6Addr::from_bits(bits)).to_canonical()
}

/// A key, what counts its requests, and its last use: most keys of a large configuration have none at a node, and no room for it.
#[derive(Debug)]
pub struct Key {
    limited: Limited<KeyConfig>,
    usage: OnceLock<Arc<Usage>>,
}

impl Key {
    /// Goes on with the uses of `before`.
    pub(super) fn new(limited: Limited<KeyConfig>, before: Option<&Self>) -> Self {
        let usage = OnceLock::new();
        if let Some(noted) = before.and_then(Self::usage) {
            let _ = usage.set(Arc::clone(noted));
        }
        Self { limited, usage }
    }

    /// What counts its requests.
    pub(super) fn limited(&self) -> &Limited<KeyConfig> {
        &self.limited
    }

    /// Notes that it let a request in; gives where.
    pub fn note_use(&self, time: Timestamp, source: IpAddr) -> &Arc<Usage> {
        let usage = self.usage.get_or_init(Arc::default);
        usage.note(time, source);
        usage
    }

    /// Its last use, if it was used at all.
    #[must_use]
    pub fn usage(&self) -> Option<&Arc<Usage>> {
        self.usage.get()
    }
}

impl Deref for Key {
    type Target = Limited<KeyConfig>;
    fn deref(&self) -> &Limited<KeyConfig> {
        &self.limited
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::thread;

    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_microsecond(us).unwrap()
    }

    fn source(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_use_is_kept_to_the_second() {
        let usage = Usage::default();
        assert_eq!(usage.last(), None);
        for (us, address, noted_us, noted) in [
            (5_000_000, "192.0.2.1", 5_000_000, "192.0.2.1"),
            (5_999_999, "192.0.2.2", 5_000_000, "192.0.2.1"),
            (6_000_000, "2001:db8::1", 6_000_000, "2001:db8::1"),
            // A clock that was put back.
            (1_000_000, "192.0.2.3", 6_000_000, "2001:db8::1"),
        ] {
            usage.note(at(us), source(address));
            let expected = LastUse {
                time: at(noted_us),
                source: source(noted),
            };
            assert_eq!(usage.last(), Some(expected));
        }
    }

    #[test]
    fn a_use_is_reported_once_and_not_often() {
        let usage = Usage::default();
        let minute = REPORTS_APART_US;
        assert_eq!(usage.due(at(minute)), None);
        usage.note(at(minute), source("192.0.2.1"));
        let due = usage.due(at(minute)).unwrap();
        assert_eq!(usage.due(at(minute)), Some(due), "until it was taken");
        usage.reported(due.time);
        assert_eq!(usage.due(at(9 * minute)), None);
        usage.note(at(minute + APART_US), source("192.0.2.2"));
        assert_eq!(usage.due(at(2 * minute - 1)), None);
        let due = usage.due(at(2 * minute)).unwrap();
        assert_eq!(due.time, at(minute + APART_US));
        usage.reported(due.time);
        // An answer that comes late puts nothing back.
        usage.reported(at(minute));
        assert_eq!(usage.due(at(9 * minute)), None);
    }

    #[test]
    fn what_is_read_is_always_one_use() {
        // Each address says its time.
        let of = |second: i64| {
            let bits = u128::from(second.unsigned_abs());
            IpAddr::V6(Ipv6Addr::from_bits((bits << 100) | (1 << 90) | bits))
        };
        let usage = Usage::default();
        let seconds = if cfg!(miri) { 20 } else { 20_000 };
        thread::scope(|scope| {
            for writer in 0..2 {
                let usage = &usage;
                scope.spawn(move || {
                    for second in (1..seconds).filter(|second| second % 2 == writer) {
                        usage.note(at(second * APART_US), of(second));
                    }
                });
            }
            scope.spawn(|| {
                let mut newest = 0;
                for _ in 0..seconds {
                    if let Some(last) = usage.last() {
                        assert_eq!(last.source, of(last.time.as_second()));
                        assert!(last.time.as_second() >= newest, "time goes on");
                        newest = last.time.as_second();
                    }
                }
            });
        });
        assert!(usage.last().is_some());
    }
}
