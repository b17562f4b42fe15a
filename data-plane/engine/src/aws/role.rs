//! STS AssumeRole (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::aws::Service;

use super::{AnswerForm, AwsCall, AwsCredentials, AwsRole, aws_error, operation, read, refused};
use crate::{
    codes,
    decision::{AttemptFailure, HttpResponse},
};

/// A role that was taken on.
#[derive(Clone, Debug)]
pub struct AssumedRole {
    /// Its credentials.
    pub credentials: AwsCredentials,
    /// When they end.
    pub expires_at: Timestamp,
}

/// The call that takes on `role` in `region`, by whoever `credentials` are of.
///
/// # Errors
/// When it cannot be written.
pub fn assume_role_call(
    role: &AwsRole,
    region: Option<String>,
    credentials: Option<AwsCredentials>,
) -> Result<AwsCall, String> {
    let mut input = json!({
        "RoleArn": role.arn,
        "RoleSessionName": role.session_name,
        "DurationSeconds": role.duration.as_secs(),
    });
    if let Some(id) = &role.external_id {
        input["ExternalId"] = id.as_str().into();
    }
    let service = Service::find("sts").ok_or("STS is not known")?;
    Ok(AwsCall {
        service: service.name.to_owned(),
        operation: "AssumeRole".to_owned(),
        signing_name: service.signing_name.to_owned(),
        region,
        endpoint: role.endpoint.clone(),
        credentials,
        role: None,
        request: operation(service, "AssumeRole", input)?,
    })
}

/// What STS answered to it.
///
/// # Errors
/// Why the role is not taken on.
pub fn assumed_role(response: &HttpResponse) -> Result<AssumedRole, AttemptFailure> {
    let told = |mut failed: AttemptFailure| {
        failed.failure.message = format!("the role cannot be assumed: {}", failed.failure.message);
        failed
    };
    if let Some(error) = aws_error(response) {
        return Err(told(refused(response, &error, true)));
    }
    let output = read(AnswerForm::Query, "sts", response).map_err(told)?;
    credentials(&output["result"]["Credentials"]).ok_or_else(|| {
        AttemptFailure::lasting(codes::AWS_ERROR, "STS answered without credentials")
    })
}

fn credentials(found: &Value) -> Option<AssumedRole> {
    let text = |name: &str| found[name].as_str().map(str::to_owned);
    Some(AssumedRole {
        credentials: AwsCredentials {
            access_key_id: text("AccessKeyId")?,
            secret_access_key: text("SecretAccessKey")?,
            session_token: Some(text("SessionToken")?),
        },
        expires_at: text("Expiration")?.parse().ok()?,
    })
}
