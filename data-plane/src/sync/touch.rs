//! When a stream has told the node all that there is, and when it does not tell it any more.

use std::time::Duration;

use crate::config::Contact;

/// What a stream means for the node's touch with its control plane, which is lost when it ends.
pub(super) struct Touch<'a> {
    contact: &'a Contact,
    /// How long a stream that has ended may be missed.
    grace: Duration,
    /// Whether anything has come that the node lacked.
    applied: bool,
    caught_up: bool,
}

impl<'a> Touch<'a> {
    pub(super) fn new(contact: &'a Contact, grace: Duration) -> Self {
        Self {
            contact,
            grace,
            applied: false,
            caught_up: false,
        }
    }

    /// A change is in use. `is_all`: it was everything, or said that nothing is lacking.
    pub(super) fn applied(&mut self, is_all: bool) {
        self.applied = true;
        self.caught_up |= is_all;
        self.heard();
    }

    /// A heartbeat: behind the changes that the node lacked comes the first one.
    pub(super) fn heartbeat(&mut self) {
        self.caught_up |= self.applied;
        self.heard();
    }

    /// Anything else.
    pub(super) fn heard(&self) {
        if self.caught_up {
            self.contact.regained();
        }
    }

    /// Nothing came for longer than heartbeats are apart, though the stream stands.
    pub(super) fn silent(&self) {
        self.contact.lost(Duration::ZERO);
    }
}

impl Drop for Touch<'_> {
    fn drop(&mut self) {
        self.contact.lost(self.grace);
    }
}
