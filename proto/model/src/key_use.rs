//! Uses of API keys.

use std::net::IpAddr;

use jiff::Timestamp;

use crate::ids::ApiKeyName;

/// The last use of a key at a node: a request that it let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Which key.
    pub key: ApiKeyName,
    /// When, by the node's clock.
    pub time: Timestamp,
    /// Address of the sender.
    pub source: IpAddr,
}
