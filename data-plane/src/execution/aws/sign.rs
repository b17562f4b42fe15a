//! Signature Version 4, by AWS's own crate.

use std::time::SystemTime;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use jiff::Timestamp;
use signalbox_engine::{AttemptFailure, AwsCall, AwsCredentials, AwsTarget};

use super::invalid;

/// The headers of the signed request.
pub(super) fn headers(
    call: &AwsCall,
    target: &AwsTarget,
    credentials: &AwsCredentials,
    now: Timestamp,
) -> Result<HeaderMap, AttemptFailure> {
    // What these say holds no secret: they name what is missing.
    let unsigned = |error: &dyn std::fmt::Display| invalid(&format!("its signature: {error}"));
    let identity = Credentials::new(
        &credentials.access_key_id,
        &credentials.secret_access_key,
        credentials.session_token.clone(),
        None,
        "signalbox",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&target.region)
        .name(&call.signing_name)
        .time(SystemTime::try_from(now).map_err(|error| unsigned(&error))?)
        .settings(settings(&call.signing_name))
        .build()
        .map_err(|error| unsigned(&error))?
        .into();
    let request = &call.request;
    let signable = SignableRequest::new(
        request.method.as_str(),
        target.url.as_str(),
        request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
        SignableBody::Bytes(&request.body),
    );
    let signable = signable.map_err(|error| unsigned(&error))?;
    let signed = sign(signable, &params).map_err(|error| unsigned(&error))?;
    let (instructions, _) = signed.into_parts();
    let mut headers = HeaderMap::new();
    let own = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.chain(instructions.headers()) {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(&format!("{name:?} is not the name of a header")))?;
        let mut value = HeaderValue::from_bytes(value.as_bytes())
            .map_err(|_| invalid(&format!("the value of its header {name:?} is none")))?;
        // No log and no compression dictionary of the connection shows it.
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// S3 signs the path as it is sent, and wants the body's digest in a header
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html>).
fn settings(signing_name: &str) -> SigningSettings {
    let mut settings = SigningSettings::default();
    if signing_name == "s3"
        || signing_name.starts_with("s3-")
        || signing_name.starts_with("s3express")
    {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    settings
}
