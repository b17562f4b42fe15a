//! Doors for the fuzz targets: see [`crate::fuzzing`].

use std::net::IpAddr;

use http::{HeaderMap, Method, StatusCode, Uri};
use signalbox_model::ids::WorkflowName;

use super::{ForwardedHeader, Networks, Peer, forwarded, proxy_protocol, route::route as route_of};
use crate::ingest::Kind;

/// The webhook that a request is for.
///
/// # Errors
/// The status that it is refused with.
pub fn route(method: &Method, uri: &Uri) -> Result<(Kind, WorkflowName), StatusCode> {
    route_of(method, uri).map_err(|problem| problem.status)
}

/// The sender of a request with these headers that came from `peer`.
#[must_use]
pub fn sender(
    trusted: &Networks,
    header: ForwardedHeader,
    peer: Peer,
    headers: &HeaderMap,
) -> Peer {
    forwarded::sender(trusted, header, peer, headers)
}

/// The source that a PROXY header at the beginning of `stream` names; what follows the header is left there.
///
/// # Errors
/// Why the connection is ended.
pub async fn proxy_source(stream: &mut &[u8]) -> Result<Option<IpAddr>, String> {
    let read = proxy_protocol::read(stream).await;
    read.map_err(|error| error.to_string())
}
