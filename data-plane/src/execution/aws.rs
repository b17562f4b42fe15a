//! Performs `aws` effects: finds credentials, signs, sends.

mod identity;
mod provider;
mod roles;
mod sign;

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use signalbox_engine::{
    AttemptFailure, AwsCall, AwsCredentials, Effect, EffectKind, HttpResponse, Outcome, aws_error,
    codes,
};
use signalbox_model::limits;
use signalbox_runtime::ambient::Ambient;
use tracing::Span;

use self::roles::Roles;
use super::{Performer, drive, http::explain};
use crate::egress::{BodyError, Egress, read_beginning, read_body};

pub use self::{
    identity::NodeIdentity,
    provider::{CredentialSource, metadata_policy},
};

/// Size of an answer's body, in bytes.
const BODY_MAX_BYTES: usize = limits::VALUE_MAX_BYTES;

/// Calls AWS through [`Egress`].
#[derive(Clone, Debug)]
pub struct AwsPerformer {
    egress: Egress,
    node: Arc<NodeIdentity>,
    roles: Roles,
    ambient: Arc<dyn Ambient>,
}

impl AwsPerformer {
    /// Through `egress`, as `node` where a call names no credentials.
    #[must_use]
    pub fn new(egress: Egress, node: NodeIdentity, ambient: Arc<dyn Ambient>) -> Self {
        Self {
            egress,
            node: Arc::new(node),
            roles: Roles::new(ambient.clone()),
            ambient,
        }
    }

    async fn call(self, call: AwsCall) -> Result<HttpResponse, AttemptFailure> {
        let credentials = self.credentials(&call).await?;
        let response = self.send(&call, &credentials).await?;
        // It was refused before it did anything; with others it may pass.
        if !is_expired(&response) || !self.forget(&call, &credentials).await {
            return Ok(response);
        }
        let credentials = self.credentials(&call).await?;
        self.send(&call, &credentials).await
    }

    /// No longer uses the credentials that `call` was signed with; says whether others can be had.
    async fn forget(&self, call: &AwsCall, credentials: &AwsCredentials) -> bool {
        if call.role.is_some() {
            self.roles.forget(credentials).await;
            return true;
        }
        call.credentials.is_none() && self.node.forget(credentials).await
    }

    /// Those that the call is signed with.
    async fn credentials(&self, call: &AwsCall) -> Result<AwsCredentials, AttemptFailure> {
        let caller = self.caller(call).await?;
        let Some(role) = &call.role else {
            return Ok(caller);
        };
        let region = call.region.clone().or_else(|| self.node.region());
        let by = AwsCall {
            role: None,
            ..call.clone()
        };
        self.roles
            .credentials(role, &caller, region, |asked| {
                let this = self.clone();
                let caller = caller.clone();
                async move {
                    let response = this.send(&asked, &caller).await?;
                    if !is_expired(&response) || !this.forget(&by, &caller).await {
                        return Ok(response);
                    }
                    this.send(&asked, &this.caller(&by).await?).await
                }
            })
            .await
    }

    /// Who calls, or takes on the role.
    async fn caller(&self, call: &AwsCall) -> Result<AwsCredentials, AttemptFailure> {
        match &call.credentials {
            Some(credentials) => Ok(credentials.clone()),
            None => self.node.credentials().await,
        }
    }

    /// Signs a call, sends it and reads the answer.
    async fn send(
        &self,
        call: &AwsCall,
        credentials: &AwsCredentials,
    ) -> Result<HttpResponse, AttemptFailure> {
        let node_region = self.node.region();
        let target = call
            .target(node_region.as_deref())
            .map_err(|what| invalid(&what))?;
        let headers = sign::headers(call, &target, credentials, self.ambient.now())?;
        let method = ::http::Method::from_bytes(call.request.method.as_str().as_bytes())
            .map_err(|error| invalid(&error.to_string()))?;
        let request = self
            .egress
            .request(method, target.url)
            .map_err(|denied| AttemptFailure::lasting(codes::EGRESS_BLOCKED, denied.to_string()))?
            .headers(headers)
            .body(call.request.body.clone());
        // The time that the attempt has is counted by who asks.
        let explain = |error| explain(&error, limits::STEP_TIMEOUT_MAX);
        let response = request.send().await.map_err(explain)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.to_string(), value)
            })
            .collect();
        let is_success = response.status().is_success();
        let body = if is_success {
            read_body(response, BODY_MAX_BYTES)
                .await
                .map_err(|error| match error {
                    BodyError::Broken(error) => explain(error),
                    BodyError::TooLarge(_) => {
                        AttemptFailure::lasting(codes::RESPONSE_TOO_LARGE, error.to_string())
                    }
                })?
        } else {
            // Its status decides, whatever becomes of the rest.
            read_beginning(response, BODY_MAX_BYTES).await
        };
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
    }
}

impl Performer for AwsPerformer {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
        let this = self.clone();
        async move {
            let EffectKind::Aws(call) = effect.kind else {
                return Outcome::Failed(invalid("it is no call of AWS"));
            };
            // Taking on a role is a part of it.
            let called = tokio::time::timeout(effect.timeout, this.call(*call)).await;
            match called {
                Ok(Ok(response)) => {
                    Span::current().record("http.response.status_code", response.status);
                    Outcome::Http(response)
                }
                Ok(Err(failure)) => Outcome::Failed(failure),
                Err(_) => Outcome::Failed(drive::timed_out(effect.timeout)),
            }
        }
        .boxed()
    }
}

/// Whether it refuses the credentials because their time is over.
fn is_expired(response: &HttpResponse) -> bool {
    aws_error(response).is_some_and(|error| error.is_expired())
}

fn invalid(what: &str) -> AttemptFailure {
    AttemptFailure::lasting(
        codes::INVALID_REQUEST,
        format!("the request cannot be sent: {what}"),
    )
}

#[cfg(test)]
mod tests;
