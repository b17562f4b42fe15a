//! The key, then the workflow, then how often they were used.

use std::{borrow::Cow, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use signalbox_model::{
    config::{KeyDigest, PublishedVersion, WorkflowConfig},
    workflow::Trigger,
};

use super::{Authorized, Head, Kind, Problem, Standing, Turned};
use crate::config::{Key, Limited, Snapshot, Usage};

/// Length of a key's value, at most; longer ones are unknown without being hashed.
const KEY_MAX_BYTES: usize = 256;
const KEY_NAME: &str = "x-api-key";
/// Longest pause asked for, in seconds: within it, a limit may be raised, or another node have room.
const RETRY_AFTER_MAX_S: u64 = 60;

/// `knows_all`: what the snapshot does not hold does not exist. When it was taken, at the latest.
pub(super) fn authorize(
    snapshot: &Snapshot,
    knows_all: bool,
    head: Head,
) -> Result<Authorized, Box<Turned>> {
    match find(snapshot, knows_all, &head) {
        Ok(Found {
            key,
            usage,
            workflow,
            published,
        }) => Ok(Authorized {
            key: key.name.clone(),
            usage: usage.clone(),
            workflow: workflow.clone(),
            published,
            head,
        }),
        Err(Refused { problem, standing }) => Err(Box::new(Turned {
            head,
            problem,
            standing,
        })),
    }
}

struct Found<'a> {
    key: &'a Key,
    usage: &'a Arc<Usage>,
    workflow: &'a Arc<Limited<WorkflowConfig>>,
    published: PublishedVersion,
}

struct Refused {
    problem: Problem,
    standing: Standing,
}

impl From<Problem> for Refused {
    /// Whose key is not known to be the workflow's is a stranger.
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            standing: Standing::Stranger,
        }
    }
}

fn find<'a>(snapshot: &'a Snapshot, knows_all: bool, head: &Head) -> Result<Found<'a>, Refused> {
    let key = live_key(snapshot, knows_all, head)?;
    let scope = key.scope.as_deref();
    // By its proxy's address, who hides behind it would be let in wherever the proxy is.
    if !head.is_source_clear && scope.is_some_and(|scope| scope.source_networks().len() > 0) {
        return Err(Problem::forbidden(
            "source-unclear",
            "the API key may be used from some addresses only, and the address is not clear: Forwarded and X-Forwarded-For \
             contradict each other, or hide it, or cannot be read",
        )
        .into());
    }
    if scope.is_some_and(|scope| !scope.has_source(head.source)) {
        return Err(Problem::forbidden(
            "source-not-allowed",
            "the API key may not be used from this address",
        )
        .into());
    }
    // A key of another project, or for other workflows, learns nothing of what exists.
    let not_its_key = || {
        Problem::forbidden(
            "key-not-allowed",
            "the API key is not one of this workflow's",
        )
    };
    if key.name.project != head.workflow.project
        || scope.is_some_and(|scope| !scope.has_workflow(&head.workflow.workflow))
    {
        return Err(not_its_key().into());
    }
    let workflow = snapshot
        .workflow(&head.workflow)
        .ok_or_else(|| absent(snapshot, knows_all, head))?;
    let published = workflow.published.clone();
    let is_its_key = published
        .as_ref()
        .is_some_and(|published| published.front.trigger.api_keys().contains(&key.name));
    let standing = if is_its_key {
        Standing::Caller
    } else {
        Standing::Stranger
    };
    let refused = |problem| Refused { problem, standing };
    let Some(published) = published.filter(|_| workflow.enabled) else {
        let detail =
            "the workflow takes no messages now: it is disabled, or has no published version";
        return Err(refused(match head.kind {
            Kind::Sns => Problem::unavailable("workflow-disabled", detail),
            Kind::Webhook => Problem::too_many("workflow-disabled", detail),
        }));
    };
    if !is_its_key {
        return Err(not_its_key().into());
    }
    match (&published.front.trigger, head.kind) {
        (Trigger::AmazonSns(_), Kind::Sns) | (Trigger::Webhook(_), Kind::Webhook) => {}
        _ => {
            return Err(refused(Problem::not_found(
                "trigger-other",
                "the workflow's trigger is of another kind than this path",
            )));
        }
    }
    // The key first: what one key sends too much is not to use up what the workflow takes of others.
    key.take().map_err(|wait| {
        let detail = "more requests came with the API key than its rate limit allows";
        over_rate(head.kind, "key-rate-limited", detail, wait)
    })?;
    workflow.take().map_err(|wait| {
        let detail = "more requests came for the workflow than its rate limit allows";
        over_rate(head.kind, "workflow-rate-limited", detail, wait)
    })?;
    // And the project last, for the same reason.
    if let Some(project) = snapshot.project(&head.workflow.project) {
        project.take().map_err(|wait| {
            let detail =
                "more requests came for the project than its quota of events per second allows";
            over_rate(head.kind, "quota-events-per-second", detail, wait)
        })?;
    }
    Ok(Found {
        key,
        usage: key.note_use(head.received_at, head.source),
        workflow,
        published,
    })
}

/// There is no such workflow, or there is one that this node cannot run, or may be one that it was not told of (invariant I4).
fn absent(snapshot: &Snapshot, knows_all: bool, head: &Head) -> Problem {
    if snapshot.is_refused(&head.workflow) {
        return Problem::unreadable();
    }
    if !knows_all {
        return not_in_sync();
    }
    Problem::not_found("workflow-unknown", "there is no such workflow")
}

/// Whoever was made known to the control plane since may be meant.
fn not_in_sync() -> Problem {
    Problem::unavailable(
        "not-in-sync",
        "this node is out of touch with its control plane, and knows no such API key or workflow; try again",
    )
}

fn live_key<'a>(snapshot: &'a Snapshot, knows_all: bool, head: &Head) -> Result<&'a Key, Problem> {
    if !snapshot.is_synced() {
        return Err(Problem::unavailable(
            "not-synced",
            "this node has not heard from its control plane yet; try again",
        ));
    }
    let value = presented(&head.headers, head.uri.query())?;
    let digest = (1..=KEY_MAX_BYTES)
        .contains(&value.len())
        .then(|| digest_of(&value));
    let known = digest.and_then(|digest| Some((snapshot.key(&digest)?, digest)));
    let Some((key, digest)) = known else {
        // A value that is too long is nobody's.
        if !knows_all && digest.is_some() {
            return Err(not_in_sync());
        }
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
    if !key.has_value(&digest, head.received_at) {
        return Err(Problem::unauthorized(
            "key-rotated",
            "the API key has another value now, and this one does not count any more",
        ));
    }
    Ok(key)
}

/// Amazon SNS retries 503 by every edition of AWS's pages, 429 only by the newer ones.
fn over_rate(kind: Kind, reason: &'static str, detail: &'static str, wait: Duration) -> Refused {
    let problem = match kind {
        Kind::Sns => Problem::unavailable(reason, detail),
        Kind::Webhook => Problem::too_many(reason, detail),
    };
    let whole_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let retry_after_s = u32::try_from(whole_s.clamp(1, RETRY_AFTER_MAX_S)).ok();
    Refused {
        problem: Problem {
            retry_after_s,
            ..problem
        },
        standing: Standing::OverRate,
    }
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
    // As nearly all are written: nothing to decode.
    if !query.contains(['%', '+']) {
        let pairs = query.split('&');
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let of_key = pairs.filter(|(name, _)| *name == KEY_NAME);
        return of_key.map(|(_, value)| value.into()).collect();
    }
    let query = query.replace('+', "%2B");
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    let of_key = pairs.filter(|(name, _)| name == KEY_NAME);
    let values = of_key.map(|(_, value)| value.into_owned());
    values.map(Cow::Owned).collect()
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
