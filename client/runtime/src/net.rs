//! Binding a listener.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that the kernel keeps until they are accepted (`listen(2)`; its own bound is `net.core.somaxconn`). The
/// usual 128 are fewer than a burst of senders has, and each one beyond waits a second or more before it knocks again.
const BACKLOG: u32 = 1024;

/// Why an address cannot be listened on; its `Display` is one line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error("cannot listen on {addr} ({what}): the port is already in use")]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
        /// The flag or setting it came from.
        what: String,
    },
    /// The process may not have the port (below 1024, usually).
    #[error("cannot listen on {addr} ({what}): permission denied")]
    PermissionDenied {
        /// The address asked for.
        addr: SocketAddr,
        /// The flag or setting it came from.
        what: String,
    },
    /// The address is not one of this machine.
    #[error("cannot listen on {addr} ({what}): this machine does not have the address")]
    NotLocal {
        /// The address asked for.
        addr: SocketAddr,
        /// The flag or setting it came from.
        what: String,
    },
    /// Anything else the system reports.
    #[error("cannot listen on {addr} ({what})")]
    Other {
        /// The address asked for.
        addr: SocketAddr,
        /// The flag or setting it came from.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens on `addr`. `what` names the flag the address came from, for the error line.
///
/// # Errors
/// [`BindError`].
pub async fn bind(addr: SocketAddr, what: &str) -> Result<TcpListener, BindError> {
    listen(addr).map_err(|source| explain(addr, what.to_owned(), source))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart must not wait for what is left of earlier connections.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

fn explain(addr: SocketAddr, what: String, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { addr, what },
        io::ErrorKind::PermissionDenied => BindError::PermissionDenied { addr, what },
        io::ErrorKind::AddrNotAvailable => BindError::NotLocal { addr, what },
        _ => BindError::Other { addr, what, source },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn a_used_port_is_one_clear_line() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let first = bind(any, "--listen").await.unwrap();
        let addr = first.local_addr().unwrap();
        let error = bind(addr, "--listen").await.unwrap_err();
        let expected = format!("cannot listen on {addr} (--listen): the port is already in use");
        assert_eq!(error.to_string(), expected);
    }

    #[tokio::test]
    async fn a_burst_waits_to_be_accepted() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = bind(any, "--listen").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut burst = Vec::new();
        for _ in 0..500 {
            let connecting = tokio::net::TcpStream::connect(addr);
            let limit = std::time::Duration::from_millis(900);
            let connected = tokio::time::timeout(limit, connecting).await;
            burst.push(connected.expect("room in the queue").unwrap());
        }
    }

    #[tokio::test]
    async fn a_foreign_address_is_one_clear_line() {
        // 192.0.2.0/24 is for documentation (RFC 5737): no machine has it.
        let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = bind(foreign, "--admin-listen").await.unwrap_err();
        assert!(matches!(error, BindError::NotLocal { .. }), "{error:?}");
        assert!(error.to_string().contains("(--admin-listen)"));
    }

    #[test]
    fn permission_is_named() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let addr = SocketAddr::from(([127, 0, 0, 1], 443));
        let error = explain(addr, "--listen".to_owned(), denied);
        assert!(error.to_string().ends_with(": permission denied"));
    }
}
