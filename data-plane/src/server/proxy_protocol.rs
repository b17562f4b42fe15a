//! The PROXY protocol, versions 1 and 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): what a load
//! balancer writes before a connection's own first byte, to say whose connection it passes on.

use std::{io, net::IpAddr, time::Duration};

use ppp::{HeaderResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How long a header may take. It comes in the first packet; the specification asks for 3 s at least, for one retransmission.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// The first line of version 1, with its end.
const V1_MAX_BYTES: usize = 107;
/// As much as every header has: `PROXY UNKNOWN` of version 1 without its end; a signature and one byte of version 2.
const HEAD_BYTES: usize = 13;
/// The part of version 2 that has a fixed length; its last two bytes say how much follows.
const V2_FIXED_BYTES: usize = 16;
/// Addresses, and what else load balancers say of a connection (AWS: an endpoint's id; HAProxy: a client's certificate name).
const V2_REST_MAX_BYTES: usize = 4096;

/// Why a connection that must begin with a header is ended. What stood there is not shown: it may be a request, with its key.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("the connection ended, or broke, within its PROXY header")]
    Broken(#[from] io::Error),
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    #[error("the PROXY header is longer than {V2_REST_MAX_BYTES} bytes")]
    TooLong,
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Reads the header, and not a byte more. None: it names no other address (`LOCAL`, `UNKNOWN`: the balancer's own check, or
/// a connection that has none), so the socket's counts.
pub(super) async fn read<S>(stream: &mut S) -> Result<Option<IpAddr>, ProxyError>
where
    S: AsyncRead + Unpin,
{
    let mut header = vec![0; HEAD_BYTES];
    stream.read_exact(&mut header).await?;
    if header.starts_with(v2::PROTOCOL_PREFIX) {
        header.resize(V2_FIXED_BYTES, 0);
        stream.read_exact(&mut header[HEAD_BYTES..]).await?;
        let rest = usize::from(u16::from_be_bytes([header[14], header[15]]));
        if rest > V2_REST_MAX_BYTES {
            return Err(ProxyError::TooLong);
        }
        header.resize(V2_FIXED_BYTES + rest, 0);
        stream.read_exact(&mut header[V2_FIXED_BYTES..]).await?;
    } else if header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        // Byte by byte, since what follows the line is not ours to take.
        while !header.ends_with(b"\n") {
            if header.len() == V1_MAX_BYTES {
                return Err(ProxyError::Malformed);
            }
            header.push(stream.read_u8().await?);
        }
        if !header.ends_with(b"\r\n") {
            return Err(ProxyError::Malformed);
        }
    } else {
        return Err(ProxyError::Missing);
    }
    let source = match HeaderResult::parse(&header) {
        HeaderResult::V1(Ok(header)) => match header.addresses {
            v1::Addresses::Tcp4(pair) => Some(pair.source_address.into()),
            v1::Addresses::Tcp6(pair) => Some(pair.source_address.into()),
            v1::Addresses::Unknown => None,
        },
        HeaderResult::V2(Ok(header)) => match (header.command, header.addresses) {
            (v2::Command::Proxy, v2::Addresses::IPv4(pair)) => Some(pair.source_address.into()),
            (v2::Command::Proxy, v2::Addresses::IPv6(pair)) => Some(pair.source_address.into()),
            _ => None,
        },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(ProxyError::Malformed),
    };
    Ok(source.map(|address: IpAddr| address.to_canonical()))
}

#[cfg(test)]
mod tests;
