//! The key, then the workflow.

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use signalbox_model::{config::KeyDigest, ids::ApiKeyName, workflow::Trigger};

use super::{Authorized, Head, Kind, Problem};
use crate::config::Snapshot;

/// Length of a key's value, at most; longer ones are unknown without being hashed.
const KEY_MAX_BYTES: usize = 256;
const KEY_NAME: &str = "x-api-key";

pub(super) fn authorize(
    snapshot: &Snapshot,
    head: Head,
) -> Result<Authorized, Box<(Head, Problem)>> {
    match find(snapshot, &head) {
        Ok((key, workflow, published)) => Ok(Authorized {
            head,
            key,
            workflow,
            published,
        }),
        Err(problem) => Err(Box::new((head, problem))),
    }
}

type Found = (
    ApiKeyName,
    std::sync::Arc<signalbox_model::config::WorkflowConfig>,
    signalbox_model::config::PublishedVersion,
);

fn find(snapshot: &Snapshot, head: &Head) -> Result<Found, Problem> {
    if !snapshot.is_synced() {
        return Err(Problem::unavailable(
            "not-synced",
            "this node has not heard from its control plane yet; try again",
        ));
    }
    let value = presented(&head.headers, head.uri.query())?;
    let known = (1..=KEY_MAX_BYTES)
        .contains(&value.len())
        .then(|| snapshot.key(&digest_of(&value)))
        .flatten();
    let Some(key) = known else {
        return Err(Problem::unauthorized(
            "key-unknown",
            "the API key is not known",
        ));
    };
    if key.revoked {
        return Err(Problem::unauthorized(
            "key-revoked",
            "the API key was revoked",
        ));
    }
    if !key.is_live(head.received_at) {
        return Err(Problem::unauthorized(
            "key-expired",
            "the API key has expired",
        ));
    }
    // A key of another project learns nothing of what exists in this one.
    let not_its_key = || {
        Problem::forbidden(
            "key-not-allowed",
            "the API key is not one of this workflow's",
        )
    };
    if key.name.project != head.workflow.project {
        return Err(not_its_key());
    }
    let unknown = || Problem::not_found("workflow-unknown", "there is no such workflow");
    let workflow = snapshot.workflow(&head.workflow).ok_or_else(unknown)?;
    let Some(published) = workflow.published.clone().filter(|_| workflow.enabled) else {
        let detail =
            "the workflow takes no messages now: it is disabled, or has no published version";
        return Err(match head.kind {
            Kind::Sns => Problem::unavailable("workflow-disabled", detail),
            Kind::Webhook => Problem::too_many("workflow-disabled", detail),
        });
    };
    if !published.workflow.trigger().api_keys().contains(&key.name) {
        return Err(not_its_key());
    }
    match (published.workflow.trigger(), head.kind) {
        (Trigger::AmazonSns(_), Kind::Sns) | (Trigger::Webhook(_), Kind::Webhook) => {}
        _ => {
            return Err(Problem::not_found(
                "trigger-other",
                "the workflow's trigger is of another kind than this path",
            ));
        }
    }
    Ok((key.name.clone(), workflow.clone(), published))
}

fn digest_of(value: &str) -> KeyDigest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, value.as_bytes()).as_ref());
    KeyDigest(bytes)
}

/// The key's value: in the header, in the query, or as the password of Basic authorization (what Amazon SNS can send).
pub(super) fn presented<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> Result<Cow<'a, str>, Problem> {
    let mut values: Vec<Cow<'a, str>> = Vec::with_capacity(2);
    for value in headers.get_all(KEY_NAME) {
        values.push(String::from_utf8_lossy(value.as_bytes()));
    }
    let in_headers = values.len();
    values.extend(query.into_iter().flat_map(keys_of_query));
    if values.len() > in_headers + 1 {
        return Err(Problem::unauthorized(
            "key-repeated",
            "the query holds x-api-key more than once",
        ));
    }
    for value in headers.get_all(AUTHORIZATION) {
        if let Some(password) = basic_password(value.as_bytes()) {
            values.push(password.into());
        }
    }
    let mut values = values.into_iter();
    let first = values.next().ok_or_else(|| {
        Problem::unauthorized(
            "key-missing",
            "no API key: give it as header or query parameter x-api-key, or as the password of Basic authorization",
        )
    })?;
    if values.any(|other| other != first) {
        return Err(Problem::unauthorized(
            "keys-differ",
            "the request holds two API keys that differ",
        ));
    }
    Ok(first)
}

/// Percent-decoded and nothing else: Amazon SNS sends a `+` of the endpoint's URL as it stands there.
fn keys_of_query(query: &str) -> Vec<Cow<'_, str>> {
    fn key<'q>((name, value): (Cow<'q, str>, Cow<'q, str>)) -> Option<Cow<'q, str>> {
        (name == KEY_NAME).then_some(value)
    }
    if !query.contains('+') {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        return pairs.filter_map(key).collect();
    }
    let query = query.replace('+', "%2B");
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let owned = |value: Cow<'_, str>| Cow::Owned(value.into_owned());
    pairs.filter_map(key).map(owned).collect()
}

/// RFC 7617.
fn basic_password(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, credentials) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    decoded
        .split_once(':')
        .map(|(_, password)| password.to_owned())
}
