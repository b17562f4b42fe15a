//! A TCP proxy that can be cut, to stand for the network between the planes.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, sync::watch};

/// A running proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    up: watch::Sender<bool>,
}

impl Proxy {
    /// Passes connections on to `to`.
    pub async fn start(to: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (up, _) = watch::channel(true);
        let state = up.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, to, state.subscribe()));
            }
        });
        Self { addr, up }
    }

    /// Cuts every connection and lets none through.
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.up.send_replace(true);
    }
}

async fn pass(mut from: TcpStream, to: SocketAddr, mut up: watch::Receiver<bool>) {
    if !*up.borrow() {
        // A cut network answers nothing at all; the peer must not lean on a quick refusal.
        let _ = tokio::time::timeout(Duration::from_secs(600), up.wait_for(|up| *up)).await;
        return;
    }
    let Ok(mut onwards) = TcpStream::connect(to).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut from, &mut onwards) => {}
        _ = up.wait_for(|up| !*up) => {}
    }
}
