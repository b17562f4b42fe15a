//! Who may be connected at once.
//!
//! A connection costs nothing to open and keep, so the slots alone would let whoever opens all of them lock out everybody
//! else. Two rules prevent it: one address has only so many, and where none is free, the connections that have been without
//! a request for longest make room for new ones.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::activity::Activity;

/// A connection that is new, or had a request just now, does not make room: it is given the time for a handshake and a head,
/// however many others press in.
const EVICTABLE_AFTER: Duration = Duration::from_secs(1);
/// Pause between two looks for connections that can make room.
const EVICT_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Slots {
    free: Arc<Semaphore>,
    max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Arc<Activity>>,
    addresses: HashMap<IpAddr, usize>,
}

impl Slots {
    pub(super) fn new(max: usize, per_address_max: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            max,
            per_address_max,
            open: Mutex::default(),
        })
    }

    /// The next free slot; [`None`] only when the semaphore is closed, which it never is.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            match self.free.clone().try_acquire_owned() {
                Ok(permit) => return Some(permit),
                Err(TryAcquireError::Closed) => return None,
                Err(TryAcquireError::NoPermits) => self.make_room(),
            }
            let waiting = self.free.clone().acquire_owned();
            if let Ok(permit) = tokio::time::timeout(EVICT_PAUSE, waiting).await {
                return permit.ok();
            }
        }
    }

    /// Tells a hundredth of all connections to end: those that have been idle for longest.
    pub(super) fn make_room(&self) {
        let mut idle: Vec<_> = self
            .open()
            .connections
            .values()
            .filter(|activity| !activity.is_evicted())
            .filter_map(|activity| Some((activity.quiet()?, Arc::clone(activity))))
            .filter(|(quiet, _)| *quiet >= EVICTABLE_AFTER)
            .collect();
        idle.sort_unstable_by_key(|(quiet, _)| std::cmp::Reverse(*quiet));
        for (_, activity) in idle.iter().take((self.max / 100).max(1)) {
            activity.evict();
        }
    }

    /// Gives a connection its slot; none when its address has too many. `counted`: whether its address stands for a sender,
    /// and not for the proxy of many.
    pub(super) fn enter(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        address: IpAddr,
        counted: bool,
    ) -> Option<Slot> {
        let address = counted.then(|| source(address));
        let activity = Arc::new(Activity::new());
        let mut open = self.open();
        if let Some(address) = address {
            let count = open.addresses.entry(address).or_default();
            if *count >= self.per_address_max {
                return None;
            }
            *count += 1;
        }
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&activity));
        drop(open);
        metrics::gauge!("signalbox_ingest_connections").increment(1);
        Some(Slot {
            id,
            address,
            activity,
            slots: Arc::clone(self),
            _permit: permit,
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one source: an IPv4 address, or the network of an IPv6 one, since whoever has one has all of its /64.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(network.into())
        }
    }
}

/// One connection's place.
pub(super) struct Slot {
    id: u64,
    address: Option<IpAddr>,
    activity: Arc<Activity>,
    slots: Arc<Slots>,
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    pub(super) fn activity(&self) -> &Arc<Activity> {
        &self.activity
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        metrics::gauge!("signalbox_ingest_connections").decrement(1);
        let mut open = self.slots.open();
        open.connections.remove(&self.id);
        if let Some(address) = self.address
            && let Entry::Occupied(mut count) = open.addresses.entry(address)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    async fn enter(slots: &Arc<Slots>, address: &str, counted: bool) -> Option<Slot> {
        let permit = slots.free().await.unwrap();
        slots.enter(permit, address.parse().unwrap(), counted)
    }

    #[tokio::test]
    async fn a_source_has_its_share_and_gets_it_back() {
        let slots = Slots::new(100, 2);
        for [one, other, third, elsewhere] in [
            ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "192.0.2.2"],
            [
                "2001:db8::1",
                "2001:db8::2",
                "2001:db8::ffff:0:0:1",
                "2001:db8:0:1::1",
            ],
        ] {
            let first = enter(&slots, one, true).await.unwrap();
            let _second = enter(&slots, other, true).await.unwrap();
            assert!(enter(&slots, third, true).await.is_none());
            let _elsewhere = enter(&slots, elsewhere, true).await.unwrap();
            let _proxied = enter(&slots, third, false).await.unwrap();
            drop(first);
            drop(enter(&slots, third, true).await.unwrap());
        }
        assert!(slots.open().addresses.is_empty() && slots.open().connections.is_empty());
        assert_eq!(slots.free.available_permits(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_makes_room_and_the_busy_never() {
        let slots = Slots::new(3, 100);
        let busy = enter(&slots, "192.0.2.1", true).await.unwrap();
        let request = busy.activity().begin();
        let idle = enter(&slots, "192.0.2.1", true).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
        let used = enter(&slots, "192.0.2.1", true).await.unwrap();
        tokio::time::advance(Duration::from_secs(5)).await;
        drop(used.activity().begin());

        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { slots.free().await }
        });
        idle.activity().evicted().await;
        assert!(!used.activity().is_evicted() && !busy.activity().is_evicted());
        drop(idle);
        let permit = waiting.await.unwrap().unwrap();
        // A young one is given its time; a busy one is left until it has answered.
        let _young = slots
            .enter(permit, "192.0.2.9".parse().unwrap(), true)
            .unwrap();
        let waiting = tokio::spawn({
            let slots = slots.clone();
            async move { slots.free().await }
        });
        used.activity().evicted().await;
        drop(used);
        drop(waiting.await.unwrap());
        assert!(!busy.activity().is_evicted());
        drop(request);
    }
}
