//! Who may call: tokens of OpenID Connect issuers, our own tokens' keys and their revocation.

mod oidc;
