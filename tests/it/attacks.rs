//! What a hostile or broken sender tries, against the running planes.
//!
//! Each attack is answered as DESIGN.md §4.1 says, starts no execution, makes no request to the outside beyond the
//! rules, and leaves a reasoned entry without a secret; a sender of good messages goes on all the while.

pub(crate) mod support;

mod certificate_fetch;
mod certificate_url;
mod drain;
mod envelope;
mod exhaustion;
mod http;
mod http2;
mod key;
mod replay;
mod signature;
mod slow;
mod tls;
