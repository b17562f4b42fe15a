//! Whose token it is: our own, or one of an issuer that the installation trusts.

use std::sync::Arc;

use signalbox_model::error::Error;

use super::{
    Identity, Oidc, TokenKey,
    token::refused,
};

/// A longer token is none that anybody here takes. Those of OpenID Connect may name many groups.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Says who calls.
#[derive(Debug)]
pub struct Authenticator {
    own: Arc<TokenKey>,
    oidc: Oidc,
}

impl Authenticator {
    /// By our own key, and by the keys of other issuers.
    #[must_use]
    pub fn new(own: Arc<TokenKey>, oidc: Oidc) -> Self {
        Self { own, oidc }
    }

    /// Who a token stands for.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason, never with a part of the token; `Unavailable` when its issuer's keys are not known.
    pub async fn identify(&self, token: &str) -> Result<Identity, Error> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(refused("TOKEN_MALFORMED", "the token is too long"));
        }
        match self.oidc.issuer_of(token) {
            Some(issuer) => issuer.verify(token).await,
            None => self.own.verify(token),
        }
    }
}
