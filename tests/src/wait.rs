//! Waiting on conditions.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(25);

/// Waits until `probe` gives a value.
///
/// # Panics
/// When it has not within `limit`; says `what` was waited for and what the last look found.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, String>>,
{
    let start = Instant::now();
    loop {
        let found = match probe().await {
            Ok(value) => return value,
            Err(found) => found,
        };
        assert!(
            start.elapsed() < limit,
            "waited {limit:?} for {what}; last seen: {found}"
        );
        tokio::time::sleep(EVERY).await;
    }
}
