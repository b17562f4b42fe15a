//! Whose token it is: our own, or one of an issuer that the installation trusts.

use signalbox_model::error::Error;

use super::{Identity, Oidc, Tokens, token::refused};

/// A longer token is none that anybody here takes. Those of OpenID Connect may name many groups.
const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Says who calls.
#[derive(Debug)]
pub struct Authenticator {
    own: Tokens,
    oidc: Oidc,
}

impl Authenticator {
    /// By our own keys, and by the keys of other issuers.
    #[must_use]
    pub fn new(own: Tokens, oidc: Oidc) -> Self {
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
            None => self.own.identify(token).await,
        }
    }

    /// Until the token that `identity` came with counts no more. Those of other issuers are theirs to take back: they end.
    pub(super) fn revocation(
        &self,
        identity: &Identity,
    ) -> Option<impl Future<Output = ()> + Send + use<>> {
        let token = identity.token.clone()?;
        Some(self.own.clone().revocation(token))
    }
}
