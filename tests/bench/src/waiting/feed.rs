//! Brings executions in, each with the time until which it waits.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::load::answer::Answers;

/// Pause before what the node was too busy for is sent again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const PREFIX: &str = "wait-";

/// What brings them in.
pub(super) struct Feed {
    pub(super) addr: SocketAddr,
    /// Path and query of the webhook.
    pub(super) target: String,
    pub(super) count: u64,
    pub(super) connections: usize,
    /// When the first is due.
    pub(super) first_due: Timestamp,
    /// From then until the last is.
    pub(super) spread: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) elapsed: Duration,
    pub(super) sent_again: u64,
}

impl Feed {
    /// When the execution `number` is due; to the millisecond.
    pub(super) fn due(&self, number: u64) -> Timestamp {
        let after = self.spread.mul_f64(number as f64 / self.count as f64);
        let ms = self.first_due.as_millisecond() + after.as_millis() as i64;
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX)
    }

    /// When the last one is.
    pub(super) fn last_due(&self) -> Timestamp {
        self.due(self.count - 1)
    }

    /// The number of the execution that the event `message_id` started.
    pub(super) fn number(message_id: &str) -> Option<u64> {
        message_id.strip_prefix(PREFIX)?.parse().ok()
    }

    /// Sends all, each until it is taken.
    pub(super) async fn run(self: Arc<Self>) -> Result<Fed> {
        let started = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut connections = JoinSet::new();
        for _ in 0..self.connections.max(1) {
            connections.spawn(self.clone().connection(next.clone()));
        }
        let mut sent_again = 0;
        while let Some(ended) = connections.join_next().await {
            sent_again += ended??;
        }
        Ok(Fed {
            elapsed: started.elapsed(),
            sent_again,
        })
    }

    /// Gives how many were sent again.
    async fn connection(self: Arc<Self>, next: Arc<AtomicU64>) -> Result<u64> {
        let mut stream = TcpStream::connect(self.addr).await?;
        stream.set_nodelay(true)?;
        let (mut answers, mut sent_again) = (Answers::default(), 0);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count {
                return Ok(sent_again);
            }
            let request = self.request(number);
            loop {
                stream.write_all(&request).await.context("sending")?;
                let answer = answers.next(&mut stream).await?;
                match answer.status {
                    200 if answer.is_duplicate => bail!("{PREFIX}{number} came twice"),
                    200 => break,
                    429 | 503 => {
                        sent_again += 1;
                        tokio::time::sleep(BUSY_PAUSE).await;
                    }
                    _ => bail!("{}", answer.text),
                }
            }
        }
    }

    fn request(&self, number: u64) -> Vec<u8> {
        let body = format!("{{\"due\":\"{}\"}}", self.due(number));
        format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\nidempotency-key: {PREFIX}{number}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.target,
            self.addr,
            body.len()
        )
        .into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_due_one_after_the_other() {
        let feed = Feed {
            addr: ([127, 0, 0, 1], 1).into(),
            target: "/".to_owned(),
            count: 1000,
            connections: 1,
            first_due: "2026-01-01T00:00:00.5Z".parse().unwrap(),
            spread: Duration::from_secs(10),
        };
        assert_eq!(feed.due(0), feed.first_due);
        assert_eq!(feed.due(500).to_string(), "2026-01-01T00:00:05.5Z");
        assert_eq!(feed.last_due().to_string(), "2026-01-01T00:00:10.49Z");
        let request = String::from_utf8(feed.request(7)).unwrap();
        assert!(
            request
                .ends_with("\r\ncontent-length: 33\r\n\r\n{\"due\":\"2026-01-01T00:00:00.57Z\"}"),
            "{request}"
        );
        assert!(request.contains("\r\nidempotency-key: wait-7\r\n"));
        assert_eq!(Feed::number("wait-7"), Some(7));
        assert_eq!(Feed::number("other"), None);
    }
}
