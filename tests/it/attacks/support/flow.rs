//! Good messages all the while, each on a connection of its own.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use signalbox_tests::wait;
use tokio::task::JoinHandle;

use super::{
    Signing,
    wire::{Post, exchange},
};

/// Between two messages: enough of them to show a stall, few enough to leave the machine to the attack.
const PAUSE: Duration = Duration::from_millis(25);

/// A sender of good messages.
pub(crate) struct Flow {
    accepted: Arc<Mutex<Vec<String>>>,
    /// Messages that were begun.
    begun: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

impl Flow {
    pub(crate) fn start(addr: SocketAddr, target: String, signing: Signing, name: String) -> Self {
        let accepted = Arc::new(Mutex::new(Vec::new()));
        let begun = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let sender = tokio::spawn(send(
            addr,
            target,
            signing,
            name,
            accepted.clone(),
            begun.clone(),
            stop.clone(),
        ));
        Self {
            accepted,
            begun,
            stop,
            sender,
        }
    }

    /// Waits until messages that were begun after this call are accepted.
    pub(crate) async fn goes_on(&self) {
        let from = self.begun.load(Ordering::SeqCst);
        wait::until("good messages to go on", Duration::from_secs(15), || {
            let count = self.accepted.lock().unwrap().len();
            let broken = self.sender.is_finished();
            async move {
                assert!(!broken, "a good message was refused for good");
                if count >= from + 2 {
                    Ok(())
                } else {
                    Err(format!("{count} accepted, of {from} before"))
                }
            }
        })
        .await;
    }

    /// Ends it; gives the ids of what was accepted, which is all that was sent.
    pub(crate) async fn finish(self) -> Vec<String> {
        self.stop.store(true, Ordering::SeqCst);
        self.sender.await.expect("every good message to be taken");
        let accepted = self.accepted.lock().unwrap().clone();
        assert_eq!(accepted.len(), self.begun.load(Ordering::SeqCst));
        accepted
    }
}

async fn send(
    addr: SocketAddr,
    target: String,
    signing: Signing,
    name: String,
    accepted: Arc<Mutex<Vec<String>>>,
    begun: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) {
    while !stop.load(Ordering::SeqCst) {
        let number = begun.fetch_add(1, Ordering::SeqCst);
        let id = format!("{name}-{number}");
        let letter = signing.notification(&id);
        let post = Post::of(&target, &letter);
        loop {
            let status = exchange(addr, post.bytes())
                .await
                .map(|a| (a.status, a.body));
            match status {
                Some((200, _)) => break,
                // As Amazon SNS does: again.
                Some((503, _)) | None => tokio::time::sleep(PAUSE).await,
                Some(other) => panic!("a good message got {other:?}: it would be given up"),
            }
        }
        accepted.lock().unwrap().push(id);
        tokio::time::sleep(PAUSE).await;
    }
}
