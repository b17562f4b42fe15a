//! `aws`: calls one operation of an AWS service.

use std::{collections::BTreeMap, time::Duration};

use super::HttpMethod;
use crate::{
    expression::{Expression, JsonTemplate, Template},
    workflow::steps::at,
};

/// Calls one operation of an AWS service.
#[derive(Clone, Debug)]
pub struct AwsStep {
    /// The service: a known one ([`crate::aws::Service`]), or, for a REST request, any.
    pub service: String,
    /// What is called.
    pub call: AwsCallForm,
    /// Region; without one, the node's.
    pub region: Option<Template>,
    /// The name in signatures, where it is not the service's.
    pub signing_name: Option<String>,
    /// Where the service is, instead of where AWS has it.
    pub endpoint_url: Option<Template>,
    /// Who calls; without them, the node.
    pub credentials: Option<AwsCredentialTemplates>,
    /// The role that the caller takes on.
    pub assume_role: Option<AwsAssumeRole>,
}

/// What is called.
#[derive(Clone, Debug)]
pub enum AwsCallForm {
    /// An operation that the tables of [`crate::aws`] lead to.
    Operation {
        /// Its name, such as `StopInstances`.
        name: String,
        /// What it is given; none for nothing.
        input: Option<JsonTemplate>,
    },
    /// A REST request, as the service's API reference writes it.
    Rest(AwsRest),
}

/// A REST request.
#[derive(Clone, Debug)]
pub struct AwsRest {
    /// Method.
    pub method: HttpMethod,
    /// Path, not percent-encoded.
    pub path: Template,
    /// Query parameters.
    pub query: BTreeMap<String, Template>,
    /// Headers.
    pub headers: BTreeMap<String, Template>,
    /// Body.
    pub body: Option<AwsRestBody>,
}

/// Body of a REST request.
#[derive(Clone, Debug)]
pub enum AwsRestBody {
    /// application/json.
    Json(JsonTemplate),
    /// Whatever the headers say; application/octet-stream by default.
    Text(Template),
}

/// Static credentials.
#[derive(Clone, Debug)]
pub struct AwsCredentialTemplates {
    /// `accessKeyId`.
    pub access_key_id: Template,
    /// `secretAccessKey`.
    pub secret_access_key: Template,
    /// `sessionToken`, of temporary ones.
    pub session_token: Option<Template>,
}

/// A role that is taken on by STS AssumeRole.
#[derive(Clone, Debug)]
pub struct AwsAssumeRole {
    /// ARN of the role.
    pub role_arn: Template,
    /// What the role's trust policy may demand.
    pub external_id: Option<Template>,
    /// Names the session in CloudTrail.
    pub session_name: Option<Template>,
    /// How long the session's credentials last.
    pub duration: Duration,
    /// Where STS is, instead of where AWS has it.
    pub endpoint_url: Option<Template>,
}

impl AwsStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        let mut all = Vec::new();
        let mut gather = |path: &str, template| {
            if let Some(template) = template {
                all.extend(at(path, Template::expressions(template)));
            }
        };
        gather("aws.region", self.region.as_ref());
        gather("aws.endpointUrl", self.endpoint_url.as_ref());
        if let Some(credentials) = &self.credentials {
            gather(
                "aws.credentials.accessKeyId",
                Some(&credentials.access_key_id),
            );
            gather(
                "aws.credentials.secretAccessKey",
                Some(&credentials.secret_access_key),
            );
            gather(
                "aws.credentials.sessionToken",
                credentials.session_token.as_ref(),
            );
        }
        if let Some(role) = &self.assume_role {
            gather("aws.assumeRole.roleArn", Some(&role.role_arn));
            gather("aws.assumeRole.externalId", role.external_id.as_ref());
            gather("aws.assumeRole.sessionName", role.session_name.as_ref());
            gather("aws.assumeRole.endpointUrl", role.endpoint_url.as_ref());
        }
        match &self.call {
            AwsCallForm::Operation { input, .. } => {
                let input = input.iter().flat_map(|input| input.expressions());
                all.extend(at("aws.input", input));
            }
            AwsCallForm::Rest(rest) => all.extend(rest.expressions()),
        }
        all
    }
}

impl AwsRest {
    fn expressions(&self) -> Vec<(String, &Expression)> {
        let mut all = at("aws.rest.path", self.path.expressions());
        for (name, value) in &self.query {
            all.extend(at(&format!("aws.rest.query.{name}"), value.expressions()));
        }
        for (name, value) in &self.headers {
            all.extend(at(&format!("aws.rest.headers.{name}"), value.expressions()));
        }
        match &self.body {
            None => {}
            Some(AwsRestBody::Json(template)) => {
                all.extend(at("aws.rest.json", template.expressions()));
            }
            Some(AwsRestBody::Text(template)) => {
                all.extend(at("aws.rest.text", template.expressions()));
            }
        }
        all
    }
}
