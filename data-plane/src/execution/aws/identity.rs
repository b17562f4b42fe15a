//! Who the node is to AWS.

use std::{env, fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials as _, SharedCredentialsProvider, error::CredentialsError},
};
use jiff::Timestamp;
use moka::future::Cache;
use signalbox_engine::{AssumedRole, AttemptFailure, AwsCredentials, codes};
use signalbox_model::aws::is_region;
use signalbox_runtime::ambient::Ambient;

use super::{
    provider::{self, CredentialSource},
    roles::UntilShortlyBefore,
};
use crate::egress::Egress;

/// How long credentials are kept whose end is not told, in hours: those of a profile, whose file may change.
const KEPT_HOURS: i64 = 1;
/// Longest text of an error that is kept, in characters.
const ERROR_MAX_CHARS: usize = 1024;

/// Region and credentials of the node, for calls that name none. `Debug` shows no credentials.
#[derive(Clone, Default)]
pub struct NodeIdentity {
    region: Option<String>,
    credentials: NodeCredentials,
}

#[derive(Clone, Default)]
enum NodeCredentials {
    /// None.
    #[default]
    None,
    /// These, until the node ends.
    Fixed(AwsCredentials),
    /// Asked for when they are needed.
    Renewed(Renewed),
}

impl NodeIdentity {
    /// What the environment says, in the variables of AWS's own tools: the region by `AWS_REGION` or `AWS_DEFAULT_REGION`,
    /// the credentials as `source` has it. Where they are asked for, it is through `egress`.
    pub async fn from_env(
        source: CredentialSource,
        egress: Egress,
        ambient: Arc<dyn Ambient>,
    ) -> Self {
        let node = Self::from_variables(|name| env::var(name).ok());
        let region = node.region.clone();
        match provider::of(source, region, egress).await {
            None => node,
            Some(provider) => Self {
                credentials: NodeCredentials::Renewed(Renewed::new(source, provider, ambient)),
                ..node
            },
        }
    }

    /// By the variables alone: `AWS_ACCESS_KEY_ID` with `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN`.
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
        let keys = keys.map(|(access_key_id, secret_access_key)| AwsCredentials {
            access_key_id,
            secret_access_key,
            session_token: set("AWS_SESSION_TOKEN"),
        });
        Self {
            region,
            credentials: keys.map_or(NodeCredentials::None, NodeCredentials::Fixed),
        }
    }

    #[cfg(test)]
    pub(super) fn renewed(
        region: Option<String>,
        source: CredentialSource,
        provider: SharedCredentialsProvider,
        ambient: Arc<dyn Ambient>,
    ) -> Self {
        Self {
            region,
            credentials: NodeCredentials::Renewed(Renewed::new(source, provider, ambient)),
        }
    }

    pub(super) fn region(&self) -> Option<String> {
        self.region.clone()
    }

    /// The credentials that count now.
    ///
    /// # Errors
    /// When there are none, or none can be had.
    pub(super) async fn credentials(&self) -> Result<AwsCredentials, AttemptFailure> {
        match &self.credentials {
            NodeCredentials::None => Err(AttemptFailure::lasting(
                codes::AWS_CREDENTIALS,
                "there are no credentials: neither the step nor the node (AWS_ACCESS_KEY_ID, \
                 AWS_SECRET_ACCESS_KEY; --aws-credentials) has any",
            )),
            NodeCredentials::Fixed(credentials) => Ok(credentials.clone()),
            NodeCredentials::Renewed(renewed) => renewed.credentials().await,
        }
    }

    /// No longer uses `credentials`, if they are the node's and others can be had; says whether that is so.
    pub(super) async fn forget(&self, credentials: &AwsCredentials) -> bool {
        match &self.credentials {
            NodeCredentials::Renewed(renewed) => renewed.forget(credentials).await,
            NodeCredentials::None | NodeCredentials::Fixed(_) => false,
        }
    }
}

impl fmt::Debug for NodeIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_credentials = !matches!(self.credentials, NodeCredentials::None);
        f.debug_struct("NodeIdentity")
            .field("region", &self.region)
            .field("has_credentials", &has_credentials)
            .finish()
    }
}

/// Credentials that end, and are asked for again shortly before: once by all who want them.
#[derive(Clone)]
struct Renewed {
    source: CredentialSource,
    provider: SharedCredentialsProvider,
    kept: Cache<(), AssumedRole>,
    /// The last ones, for when no others can be had before they end.
    last: Arc<ArcSwapOption<AssumedRole>>,
    ambient: Arc<dyn Ambient>,
}

impl Renewed {
    fn new(
        source: CredentialSource,
        provider: SharedCredentialsProvider,
        ambient: Arc<dyn Ambient>,
    ) -> Self {
        Self {
            source,
            provider,
            kept: Cache::builder()
                .max_capacity(1)
                .expire_after(UntilShortlyBefore(ambient.clone()))
                .build(),
            last: Arc::default(),
            ambient,
        }
    }

    async fn credentials(&self) -> Result<AwsCredentials, AttemptFailure> {
        let asked = self.kept.try_get_with((), self.ask()).await;
        match asked {
            Ok(found) => Ok(found.credentials),
            Err(failure) => {
                let now = self.ambient.now();
                let last = self.last.load_full().filter(|last| last.expires_at > now);
                let last = last.ok_or_else(|| (*failure).clone())?;
                tracing::warn!(
                    error = failure.failure.message,
                    "the node's AWS credentials cannot be renewed; those before are used until they end"
                );
                Ok(last.credentials.clone())
            }
        }
    }

    async fn ask(&self) -> Result<AssumedRole, AttemptFailure> {
        let asked = self.provider.provide_credentials().await;
        let found = asked.map_err(|error| self.not_had(&error))?;
        let found = self.read(&found);
        self.last.store(Some(Arc::new(found.clone())));
        Ok(found)
    }

    fn read(&self, found: &Credentials) -> AssumedRole {
        let end = found.expiry().and_then(|end| Timestamp::try_from(end).ok());
        let unless_told = jiff::SignedDuration::from_hours(KEPT_HOURS);
        AssumedRole {
            credentials: AwsCredentials {
                access_key_id: found.access_key_id().to_owned(),
                secret_access_key: found.secret_access_key().to_owned(),
                session_token: found.session_token().map(str::to_owned),
            },
            expires_at: end.unwrap_or_else(|| {
                let kept = self.ambient.now().checked_add(unless_told);
                kept.unwrap_or(Timestamp::MAX)
            }),
        }
    }

    /// What AWS's own code says, which names what is missing or was answered, and no credentials.
    fn not_had(&self, error: &CredentialsError) -> AttemptFailure {
        let mut text = format!(
            "the node has no credentials (--aws-credentials {}): {error}",
            self.source
        );
        let mut cause = std::error::Error::source(error);
        while let Some(inner) = cause {
            let told = inner.to_string();
            // Some say what their cause says.
            if !text.ends_with(&told) {
                text = format!("{text}: {told}");
            }
            cause = inner.source();
        }
        let text: String = text.chars().take(ERROR_MAX_CHARS).collect();
        match error {
            CredentialsError::InvalidConfiguration(_) => {
                AttemptFailure::lasting(codes::AWS_CREDENTIALS, text)
            }
            _ => AttemptFailure::retriable(codes::AWS_CREDENTIALS, text),
        }
    }

    async fn forget(&self, credentials: &AwsCredentials) -> bool {
        let kept = self.kept.get(&()).await;
        if kept.is_some_and(|kept| kept.credentials == *credentials) {
            self.kept.invalidate(&()).await;
            self.last.store(None);
        }
        true
    }
}
