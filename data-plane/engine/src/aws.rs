//! How a call of an AWS service is written as a request, and how its answer is read. Who signs and sends it is elsewhere.

mod answer;
mod query;
mod request;
mod role;
mod xml;

use std::{fmt, time::Duration};

use bytes::Bytes;
use signalbox_model::{
    aws::{Service, host},
    workflow::HttpMethod,
};
use url::Url;

pub(crate) use answer::{AnswerForm, read, refused};
pub use answer::{AwsError, aws_error};
pub(crate) use request::{operation, rest};
pub use role::{AssumedRole, assume_role_call, assumed_role};

/// A call of an AWS service, all expressions evaluated. `Debug` shows neither credentials nor what is sent.
#[derive(Clone, PartialEq)]
pub struct AwsCall {
    /// The service, as definitions name it.
    pub service: String,
    /// The operation; for a REST request its method.
    pub operation: String,
    /// The service's name in signatures.
    pub signing_name: String,
    /// Region; none for the node's.
    pub region: Option<String>,
    /// Where the service is; none for where AWS has it.
    pub endpoint: Option<Url>,
    /// Who calls; none for the node.
    pub credentials: Option<AwsCredentials>,
    /// The role that the caller takes on.
    pub role: Option<AwsRole>,
    /// What is asked.
    pub request: AwsRequest,
}

/// Credentials of an AWS principal. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsCredentials {
    /// Access key id.
    pub access_key_id: String,
    /// Secret access key.
    pub secret_access_key: String,
    /// Session token, of temporary ones.
    pub session_token: Option<String>,
}

/// A role to be taken on. `Debug` shows no external id.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsRole {
    /// ARN.
    pub arn: String,
    /// External id.
    pub external_id: Option<String>,
    /// Name of the session.
    pub session_name: String,
    /// How long its credentials last.
    pub duration: Duration,
    /// Where STS is; none for where AWS has it.
    pub endpoint: Option<Url>,
}

/// A request without its host. `Debug` shows the method only.
#[derive(Clone, PartialEq, Eq)]
pub struct AwsRequest {
    /// Method.
    pub method: HttpMethod,
    /// Path, percent-encoded, with its leading slash.
    pub path: String,
    /// Query, percent-encoded; empty for none.
    pub query: String,
    /// Names are lower case and valid; values hold no control characters.
    pub headers: Vec<(String, String)>,
    /// Body; empty for none.
    pub body: Bytes,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsTarget {
    /// The whole URL.
    pub url: Url,
    /// The region of its signature.
    pub region: String,
}

impl AwsCall {
    /// Where the call goes from a node whose region is `region`.
    ///
    /// # Errors
    /// What is wrong, to stand after "the request cannot be sent: ".
    pub fn target(&self, region: Option<&str>) -> Result<AwsTarget, String> {
        let region = self.region.as_deref().or(region).ok_or(
            "no region is set: neither the step nor the node (AWS_REGION, AWS_DEFAULT_REGION) has one",
        )?;
        let (host, region) = match Service::find(&self.service) {
            Some(service) => service.host(region),
            None => host(&self.service, region),
        };
        let AwsRequest { path, query, .. } = &self.request;
        let (origin, before) = match &self.endpoint {
            Some(url) => (
                url.origin().ascii_serialization(),
                url.path().trim_end_matches('/'),
            ),
            None => (format!("https://{host}"), ""),
        };
        let separator = if query.is_empty() { "" } else { "?" };
        let text = format!("{origin}{before}{path}{separator}{query}");
        let url: Url = text.parse().map_err(|error| format!("its URL: {error}"))?;
        // What is signed is what is sent.
        if url.as_str() == text {
            Ok(AwsTarget { url, region })
        } else {
            Err("its path cannot be written as one of a URL".to_owned())
        }
    }
}

impl fmt::Debug for AwsCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsCall")
            .field("service", &self.service)
            .field("operation", &self.operation)
            .field("region", &self.region)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AwsCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AwsCredentials([redacted])")
    }
}

impl fmt::Debug for AwsRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsRole")
            .field("arn", &self.arn)
            .field("session_name", &self.session_name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AwsRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsRequest")
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
