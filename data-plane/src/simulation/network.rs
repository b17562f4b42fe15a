//! The network between the hosts: delays, losses and cuts that a seed draws, and streams that carry bytes as TCP does: in
//! order, each once, until the connection breaks.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_util::sync::CancellationToken;

use super::chance::Chance;

/// Bytes that one direction of a stream may hold; far above HTTP/2's windows.
const PIPE_MAX_BYTES: usize = 64 * 1024 * 1024;
/// How soon a cut that has healed is noticed.
const HEAL_POLL: Duration = Duration::from_millis(50);

/// One life of a host, from its start to its end. Clones are the same life.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    ended: CancellationToken,
    /// Whether its peers are told (a process that dies, its machine living on), or left in silence (power is lost).
    tells: Arc<std::sync::atomic::AtomicBool>,
}

impl Life {
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_cancelled()
    }

    pub(super) async fn over(&self) {
        self.ended.cancelled().await;
    }

    fn tells(&self) -> bool {
        self.tells.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A connection between two hosts' networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Amazon SNS and the node.
    Webhooks,
    /// The node and the control plane.
    Reports,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    cut: bool,
    slow: bool,
}

/// All links.
pub(super) struct Network {
    chance: Chance,
    links: Mutex<[State; 2]>,
    listener: Mutex<Option<(Life, mpsc::UnboundedSender<io::Result<Stream>>)>>,
    pipes: Mutex<Vec<Weak<Mutex<Pipe>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    pub(super) fn new(chance: Chance) -> Self {
        Self {
            chance,
            links: Mutex::default(),
            listener: Mutex::default(),
            pipes: Mutex::default(),
        }
    }

    pub(super) fn cut(&self, link: Link, cut: bool) {
        lock(&self.links)[link as usize].cut = cut;
    }

    pub(super) fn slow(&self, link: Link, slow: bool) {
        lock(&self.links)[link as usize].slow = slow;
    }

    fn state(&self, link: Link) -> State {
        lock(&self.links)[link as usize]
    }

    fn delay(&self, link: Link) -> Duration {
        if self.state(link).slow {
            self.chance.ms(50..4000)
        } else {
            self.chance.ms(0..20)
        }
    }

    /// Carries one message of a webhook: false when it is lost. Messages overtake each other.
    pub(super) async fn carry(&self, link: Link) -> bool {
        let lost = self
            .chance
            .flip(if self.state(link).slow { 0.1 } else { 0.01 });
        tokio::time::sleep(self.delay(link)).await;
        !lost && !self.state(link).cut
    }

    /// Takes connections from now on, in the place of whoever did.
    pub(super) fn listen(&self, life: &Life) -> mpsc::UnboundedReceiver<io::Result<Stream>> {
        let (sender, incoming) = mpsc::unbounded_channel();
        *lock(&self.listener) = Some((life.clone(), sender));
        incoming
    }

    /// Connects to whoever listens.
    pub(super) async fn connect(self: Arc<Self>, client: Life) -> io::Result<Stream> {
        tokio::time::sleep(self.delay(Link::Reports)).await;
        while self.state(Link::Reports).cut {
            tokio::time::sleep(HEAL_POLL).await;
        }
        let listener = lock(&self.listener).clone();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let (server, sender) = listener.ok_or_else(refused)?;
        if server.is_over() || client.is_over() {
            return Err(refused());
        }
        let (there, back) = (self.pipe(), self.pipe());
        let stream =
            |read: &Arc<Mutex<Pipe>>, write: &Arc<Mutex<Pipe>>, of: &Life, to: &Life| Stream {
                network: self.clone(),
                read: read.clone(),
                write: write.clone(),
                life: of.clone(),
                peer: to.clone(),
                sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            };
        let accepted = stream(&there, &back, &server, &client);
        sender.send(Ok(accepted)).map_err(|_| refused())?;
        tokio::time::sleep(self.delay(Link::Reports)).await;
        Ok(stream(&back, &there, &client, &server))
    }

    fn pipe(&self) -> Arc<Mutex<Pipe>> {
        let pipe = Arc::new(Mutex::new(Pipe {
            chunks: VecDeque::new(),
            held_bytes: 0,
            last: Instant::now(),
            closed: false,
            abandoned: false,
            reader: None,
        }));
        let mut pipes = lock(&self.pipes);
        pipes.retain(|pipe| pipe.strong_count() > 0);
        pipes.push(Arc::downgrade(&pipe));
        pipe
    }

    /// Ends a life; its peers are told, or not.
    pub(super) fn end(&self, life: &Life, tells: bool) {
        life.tells
            .store(tells, std::sync::atomic::Ordering::Relaxed);
        life.ended.cancel();
        let pipes: Vec<_> = lock(&self.pipes).iter().filter_map(Weak::upgrade).collect();
        for pipe in pipes {
            lock(&pipe).wake();
        }
    }
}

/// One direction of a stream.
struct Pipe {
    chunks: VecDeque<(Instant, Bytes)>,
    held_bytes: usize,
    last: Instant,
    /// The writer has said its last word.
    closed: bool,
    /// The reader is gone.
    abandoned: bool,
    reader: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// One end of a connection.
pub(super) struct Stream {
    network: Arc<Network>,
    read: Arc<Mutex<Pipe>>,
    write: Arc<Mutex<Pipe>>,
    life: Life,
    peer: Life,
    sleep: Pin<Box<Sleep>>,
}

impl Stream {
    fn check(&self) -> io::Result<()> {
        if self.life.is_over() || (self.peer.is_over() && self.peer.tells()) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            self.check()?;
            let next = {
                let mut pipe = lock(&self.read);
                pipe.reader = Some(context.waker().clone());
                let now = Instant::now();
                let closed = pipe.closed;
                match pipe.chunks.front_mut() {
                    None if closed => return Poll::Ready(Ok(())),
                    None => return Poll::Pending,
                    Some((due, _)) if *due > now => *due,
                    Some(_) if self.network.state(Link::Reports).cut => now + HEAL_POLL,
                    Some((_, chunk)) => {
                        let taken = chunk.len().min(buffer.remaining());
                        buffer.put_slice(&chunk[..taken]);
                        chunk.advance(taken);
                        if chunk.is_empty() {
                            pipe.chunks.pop_front();
                        }
                        pipe.held_bytes -= taken;
                        return Poll::Ready(Ok(()));
                    }
                }
            };
            self.sleep.as_mut().reset(next);
            std::task::ready!(self.sleep.as_mut().poll(context));
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let delay = self.network.delay(Link::Reports);
        let mut pipe = lock(&self.write);
        if pipe.abandoned || pipe.closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if pipe.held_bytes + bytes.len() > PIPE_MAX_BYTES {
            return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
        }
        let due = pipe.last.max(Instant::now() + delay);
        pipe.last = due;
        pipe.held_bytes += bytes.len();
        pipe.chunks.push_back((due, Bytes::copy_from_slice(bytes)));
        pipe.wake();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.life.is_over() {
            let mut pipe = lock(&self.write);
            pipe.closed = true;
            pipe.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The dead say nothing: their peers notice, or are told when the life ends.
        if self.life.is_over() {
            return;
        }
        for pipe in [&self.read, &self.write] {
            let mut pipe = lock(pipe);
            pipe.closed = true;
            pipe.abandoned = true;
            pipe.wake();
        }
    }
}

impl tonic::transport::server::Connected for Stream {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
