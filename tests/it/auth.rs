//! Who may call: tokens of OpenID Connect issuers, our own tokens' keys and their revocation, and which role may what.

mod oidc;
mod refusals;
pub(crate) mod roles;
mod streams;
mod tokens;
