//! Where a node's credentials come from, by AWS's own crate (`aws-config`): its providers ask through our client.

use std::{fmt, time::Duration};

use aws_config::{
    Region, default_provider::credentials::DefaultCredentialsChain, ecs::EcsCredentialsProvider,
    imds::credentials::ImdsCredentialsProvider, profile::ProfileFileCredentialsProvider,
    provider_config::ProviderConfig, web_identity_token::WebIdentityTokenCredentialsProvider,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use ipnet::IpNet;
use signalbox_model::limits;

use crate::egress::{Egress, EgressPolicy, read_body};

/// Size of an answer's body, in bytes.
const BODY_MAX_BYTES: usize = limits::VALUE_MAX_BYTES;
/// How long one request may take unless the provider says so.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the node's credentials come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CredentialSource {
    /// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, read at the node's start.
    #[default]
    Environment,
    /// The files ~/.aws/credentials and ~/.aws/config (AWS_PROFILE, AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE).
    Profile,
    /// The role AWS_ROLE_ARN by the token in AWS_WEB_IDENTITY_TOKEN_FILE, as in EKS with roles for service accounts.
    WebIdentity,
    /// AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI, as in ECS and EKS with pod identities.
    Container,
    /// The metadata service of the EC2 instance (IMDSv2).
    Instance,
    /// The first of these that has any: the standard chain of AWS's tools.
    Auto,
}

impl fmt::Display for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "environment",
            Self::Profile => "profile",
            Self::WebIdentity => "web-identity",
            Self::Container => "container",
            Self::Instance => "instance",
            Self::Auto => "auto",
        })
    }
}

/// What a node may reach for its credentials: what its steps may, the machine itself, and where AWS says that credentials are
/// (`ecs.rs` and `imds/client.rs` of `aws-config` name the same).
#[must_use]
pub fn metadata_policy(steps: &EgressPolicy) -> EgressPolicy {
    const PLACES: [&str; 7] = [
        "127.0.0.0/8",
        "::1/128",
        "169.254.169.254/32",
        "fd00:ec2::254/128",
        "169.254.170.2/32",
        "169.254.170.23/32",
        "fd00:ec2::23/128",
    ];
    let places = PLACES.iter().filter_map(|net| net.parse::<IpNet>().ok());
    EgressPolicy {
        allow: steps.allow.iter().copied().chain(places).collect(),
        deny: steps.deny.clone(),
    }
}

/// What the providers ask with: the process's environment and files, and `egress`.
pub(super) fn config(region: Option<Region>, egress: Egress) -> ProviderConfig {
    let client = http_client_fn(move |settings, _| {
        let timeouts = [settings.connect_timeout(), settings.read_timeout()];
        let timeout: Duration = timeouts.into_iter().flatten().sum();
        let egress = egress.clone();
        SharedHttpConnector::new(Asked {
            egress,
            timeout: if timeout.is_zero() {
                REQUEST_TIMEOUT
            } else {
                timeout
            },
        })
    });
    ProviderConfig::without_region()
        .with_region(region)
        .with_http_client(client)
}

/// What asks for the credentials of `source`; [`None`] when they are the environment's.
pub(super) async fn of(
    source: CredentialSource,
    region: Option<String>,
    egress: Egress,
) -> Option<SharedCredentialsProvider> {
    let region = region.map(Region::new);
    let config = config(region.clone(), egress);
    Some(match source {
        CredentialSource::Environment => return None,
        CredentialSource::Profile => {
            let builder = ProfileFileCredentialsProvider::builder().configure(&config);
            SharedCredentialsProvider::new(builder.build())
        }
        CredentialSource::WebIdentity => {
            let builder = WebIdentityTokenCredentialsProvider::builder().configure(&config);
            SharedCredentialsProvider::new(builder.build())
        }
        CredentialSource::Container => {
            let builder = EcsCredentialsProvider::builder().configure(&config);
            SharedCredentialsProvider::new(builder.build())
        }
        CredentialSource::Instance => {
            let builder = ImdsCredentialsProvider::builder().configure(&config);
            SharedCredentialsProvider::new(builder.build())
        }
        CredentialSource::Auto => {
            let builder = DefaultCredentialsChain::builder().configure(config);
            SharedCredentialsProvider::new(builder.region(region).build().await)
        }
    })
}

/// Sends what AWS's crate asks for.
#[derive(Clone, Debug)]
struct Asked {
    egress: Egress,
    timeout: Duration,
}

impl Asked {
    async fn send(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let user = |error: Box<dyn std::error::Error + Send + Sync>| ConnectorError::user(error);
        let method = request.method().parse::<::http::Method>();
        let method = method.map_err(|error| user(error.into()))?;
        let url = request.uri().parse::<url::Url>();
        let url = url.map_err(|error| user(error.into()))?;
        let mut sent = self
            .egress
            .request(method, url)
            .map_err(|denied| user(denied.into()))?
            .timeout(self.timeout);
        for (name, value) in request.headers().iter() {
            sent = sent.header(name, value);
        }
        // What these providers send is no stream.
        let body = request.body().bytes().unwrap_or_default().to_vec();
        let response = sent.body(body).send().await.map_err(explain)?;
        let status = StatusCode::try_from(response.status().as_u16());
        let status = status.map_err(|error| ConnectorError::other(error.into(), None))?;
        let headers = response.headers().clone();
        let body = read_body(response, BODY_MAX_BYTES).await;
        let body = body.map_err(|error| ConnectorError::io(error.into()))?;
        let mut answer = HttpResponse::new(status, SdkBody::from(body));
        for (name, value) in &headers {
            if let Ok(value) = value.to_str() {
                let (name, value) = (name.as_str().to_owned(), value.to_owned());
                let added = answer.headers_mut().try_append(name, value);
                added.map_err(|error| ConnectorError::other(error.into(), None))?;
            }
        }
        Ok(answer)
    }
}

impl HttpConnector for Asked {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().send(request))
    }
}

fn explain(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}
