//! A TCP proxy that can be cut, to stand for the network between the planes, and between them and their database.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::watch,
};

/// A running proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Where it listens.
    pub addr: SocketAddr,
    up: watch::Sender<bool>,
}

/// What a proxy passes connections on to.
#[derive(Clone, Debug)]
enum To {
    Address(SocketAddr),
    Socket(PathBuf),
}

impl Proxy {
    /// Passes connections on to `to`.
    pub async fn start(to: SocketAddr) -> Self {
        Self::before(To::Address(to)).await
    }

    /// Passes connections on to a Unix socket.
    pub async fn start_before_socket(to: PathBuf) -> Self {
        Self::before(To::Socket(to)).await
    }

    async fn before(to: To) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (up, _) = watch::channel(true);
        let state = up.clone();
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                tokio::spawn(pass(from, to.clone(), state.subscribe()));
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

async fn pass(from: TcpStream, to: To, mut up: watch::Receiver<bool>) {
    if !*up.borrow() {
        // A cut network answers nothing at all; the peer must not lean on a quick refusal.
        let _ = tokio::time::timeout(Duration::from_secs(600), up.wait_for(|up| *up)).await;
        return;
    }
    match to {
        To::Address(to) => {
            if let Ok(onwards) = TcpStream::connect(to).await {
                copy(from, onwards, up).await;
            }
        }
        To::Socket(to) => {
            if let Ok(onwards) = UnixStream::connect(to).await {
                copy(from, onwards, up).await;
            }
        }
    }
}

async fn copy(
    mut from: TcpStream,
    mut onwards: impl AsyncRead + AsyncWrite + Unpin,
    mut up: watch::Receiver<bool>,
) {
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut from, &mut onwards) => {}
        _ = up.wait_for(|up| !*up) => {}
    }
}
