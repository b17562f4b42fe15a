//! What stands before several replicas of a control plane: connections go to them in turn, past those that do not listen.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

/// A running balancer. It has a thread of its own: tests may block theirs.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub addr: SocketAddr,
    _ends: oneshot::Sender<()>,
}

impl Balancer {
    /// Listens on a port of the loopback (0: any), before the replicas at `to`.
    #[must_use]
    pub fn start(port: u16, to: Vec<SocketAddr>) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let addr = listener.local_addr().unwrap();
        let (ends, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept(listener, to.into()) => {}
                    _ = ended => {}
                }
            });
        });
        Self { addr, _ends: ends }
    }
}

async fn accept(listener: TcpListener, to: Arc<[SocketAddr]>) {
    let next = AtomicUsize::new(0);
    while let Ok((from, _)) = listener.accept().await {
        let first = next.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(pass(from, to.clone(), first));
    }
}

async fn pass(mut from: TcpStream, to: Arc<[SocketAddr]>, first: usize) {
    for number in first..first + to.len() {
        if let Ok(mut onwards) = TcpStream::connect(to[number % to.len()]).await {
            let _ = onwards.set_nodelay(true);
            let _ = from.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut from, &mut onwards).await;
            return;
        }
    }
}
