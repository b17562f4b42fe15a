//! Addresses for protocols other than HTTP, under the same policy.

use std::{io, net::SocketAddr};

use super::{Denied, Egress};

/// Why there is no address to connect to.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// None of those that the name has is allowed.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The name has none.
    #[error("the name cannot be resolved")]
    Lookup(#[source] io::Error),
}

impl Egress {
    /// The allowed addresses of `host`, a name or an address, at `port`. What is connected to must be one of them: the name
    /// may have others a moment later.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<SocketAddr> = found.map_err(ResolveError::Lookup)?.collect();
        let mut denied = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.policy.check(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(why) => denied = denied.or(Some(why)),
            }
        }
        match denied {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(why) => Err(why.into()),
            None => Err(ResolveError::Lookup(io::ErrorKind::NotFound.into())),
        }
    }
}
