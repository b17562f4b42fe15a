//! Who the node is to AWS.

use std::{env, fmt};

use secrecy::{ExposeSecret as _, SecretString};
use signalbox_engine::AwsCredentials;
use signalbox_model::aws::is_region;

/// Region and credentials of the node, for calls that name none.
#[derive(Clone, Default)]
pub struct NodeIdentity {
    region: Option<String>,
    keys: Option<Keys>,
}

#[derive(Clone)]
struct Keys {
    access_key_id: String,
    secret_access_key: SecretString,
    session_token: Option<SecretString>,
}

impl NodeIdentity {
    /// What the environment says, in the variables of AWS's own tools: `AWS_REGION` or `AWS_DEFAULT_REGION`,
    /// `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN`.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_variables(|name| env::var(name).ok())
    }

    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let region = set("AWS_REGION").or_else(|| set("AWS_DEFAULT_REGION"));
        let region = region.filter(|region| {
            let is_region = is_region(region);
            if !is_region {
                tracing::warn!("AWS_REGION is no region, and is not used");
            }
            is_region
        });
        let keys = set("AWS_ACCESS_KEY_ID").zip(set("AWS_SECRET_ACCESS_KEY"));
        Self {
            region,
            keys: keys.map(|(id, secret)| Keys {
                access_key_id: id,
                secret_access_key: secret.into(),
                session_token: set("AWS_SESSION_TOKEN").map(Into::into),
            }),
        }
    }

    pub(super) fn region(&self) -> Option<String> {
        self.region.clone()
    }

    pub(super) fn credentials(&self) -> Option<AwsCredentials> {
        let keys = self.keys.as_ref()?;
        Some(AwsCredentials {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.expose_secret().to_owned(),
            session_token: keys
                .session_token
                .as_ref()
                .map(|token| token.expose_secret().to_owned()),
        })
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeIdentity")
            .field("region", &self.region)
            .field("has_credentials", &self.keys.is_some())
            .finish()
    }
}
