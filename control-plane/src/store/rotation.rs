//! The value that a key's row had before.

use jiff::Timestamp;

use super::rows::ApiKey;

impl ApiKey {
    /// Until when the value before works, if it does at `now_us`, in microseconds since the Unix epoch.
    #[must_use]
    pub fn previous_expires_at(&self, now_us: i64) -> Option<Timestamp> {
        let until = self.previous_expire_time_us?;
        let works =
            self.previous_digest.is_some() && self.revoke_time_us.is_none() && now_us < until;
        works
            .then(|| Timestamp::from_microsecond(until).ok())
            .flatten()
    }
}
