//! Which addresses may be reached.

use std::net::IpAddr;

use ipnet::IpNet;

use super::address;

/// Which addresses may be reached: every public one, and those that are allowed by name; never those that are denied.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    /// Networks that may be reached although they are not public.
    pub allow: Vec<IpNet>,
    /// Networks that are not reached, whether they are public or allowed.
    pub deny: Vec<IpNet>,
}

impl EgressPolicy {
    /// Every address that this one does not deny: for origins that the operator named.
    #[must_use]
    pub fn anywhere(&self) -> Self {
        Self {
            allow: vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ],
            deny: self.deny.clone(),
        }
    }

    /// Whether `address` may be connected to.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, address: IpAddr) -> Result<(), Denied> {
        let destination = address::destination(address);
        let holds = |nets: &[IpNet]| {
            let mut nets = nets.iter();
            nets.any(|net| net.contains(&address) || net.contains(&destination))
        };
        if holds(&self.deny) {
            Err(Denied::ByNetwork(address))
        } else if address::is_public(destination) || holds(&self.allow) {
            Ok(())
        } else {
            Err(Denied::NotPublic(address))
        }
    }
}

/// The address is not allowed. Found in the sources of a request's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is one of a private network, of the machine itself, or otherwise special.
    #[error("the address {0} is not public, and no --egress-allow network holds it")]
    NotPublic(IpAddr),
    /// The operator denies it.
    #[error("the address {0} is in a network of --egress-deny")]
    ByNetwork(IpAddr),
}
