//! Whose token it is: our own, or one of an issuer that the installation trusts.

use jsonwebtoken::errors::ErrorKind;
use signalbox_model::error::Error;

use super::{
    Identity, Oidc, Tokens,
    token::{explain, refused},
    tokens::passed,
};

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

    /// Until the token that `identity` came with counts no more: why. Those of other issuers are theirs to take back; here they
    /// end.
    pub(super) fn end(&self, identity: &Identity) -> impl Future<Output = Error> + Send + use<> {
        let (own, ends_at) = (self.own.clone(), identity.ends_at);
        let token = identity.token.clone();
        async move {
            let revocation = async {
                match token {
                    Some(token) => own.revocation(token).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = revocation => {
                    refused("TOKEN_REVOKED", "the token is revoked, or its key retired")
                }
                () = passed(ends_at) => explain(&ErrorKind::ExpiredSignature),
            }
        }
    }
}
