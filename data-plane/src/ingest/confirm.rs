//! Confirms subscriptions in the background.
//!
//! A handshake is durable before its sender gets the 200; from then on it is this loop's: it asks the spool what is due
//! (a hint wakes it, a period makes sure), so a restart goes on where the process ended. Amazon SNS takes the same
//! confirmation twice.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use signalbox_model::record::{SubscriptionChange, SubscriptionState};
use signalbox_runtime::{ambient::Ambient, shutdown::Shutdown};
use signalbox_sns::{
    CONFIRM_RESPONSE_MAX_BYTES, CertOrigin, ConfirmToken, ConfirmUrl, SubscriptionArn, TopicArn,
    TrustPolicy, parse_confirm_response,
};
use tokio::task::{Id, JoinSet};
use tracing::Instrument as _;

use super::Certificates;
use crate::{
    egress::{denied, read_body},
    spool::{Handshake, Spool},
};

/// Confirmations under way at once.
const CONCURRENCY_MAX: usize = 8;
/// From connecting to the last byte of the answer.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the spool is asked although nothing was heard.
const PERIOD: Duration = Duration::from_secs(1);
/// Pause after the spool failed to take an outcome, so that the attempt is not repeated in a tight loop.
const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// When to try again, and when to stop.
#[derive(Clone, Copy, Debug)]
pub struct ConfirmPolicy {
    /// First pause; each next one is twice as long.
    pub retry_min: Duration,
    /// Longest pause.
    pub retry_max: Duration,
    /// Unconfirmed subscriptions are deleted by Amazon SNS 48 hours after they were made.
    pub give_up_after: Duration,
}

impl Default for ConfirmPolicy {
    fn default() -> Self {
        Self {
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_secs(600),
            give_up_after: Duration::from_secs(48 * 3600),
        }
    }
}

/// Confirms the handshakes of a spool.
#[derive(Clone)]
pub struct Confirmer {
    /// Where the handshakes are.
    pub spool: Arc<dyn Spool>,
    /// Clients for the outside.
    pub certificates: Certificates,
    /// Origins that are trusted now: a handshake of one that no longer is does not go out.
    pub trust: TrustPolicy,
    /// When to try again, and when to stop.
    pub policy: ConfirmPolicy,
    /// The time of day, and chance.
    pub ambient: Arc<dyn Ambient>,
}

/// Why an attempt confirmed nothing. Texts hold no token.
struct Failure {
    text: String,
    permanent: bool,
}

impl Failure {
    /// One that another attempt may mend.
    fn passing(error: impl fmt::Display) -> Self {
        Self {
            text: error.to_string(),
            permanent: false,
        }
    }
}

/// What tells one handshake from another.
type Key = (String, String, String);

impl Confirmer {
    /// Runs until `shutdown` begins; what is under way then is dropped and due again at the next start.
    pub async fn run(self, shutdown: Shutdown) {
        let accepted = self.spool.handshake_accepted();
        let mut attempts = JoinSet::new();
        let mut busy: HashMap<Id, Key> = HashMap::new();
        loop {
            self.start_due(&mut attempts, &mut busy).await;
            tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                Some(ended) = attempts.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    };
                    busy.remove(&id);
                }
                () = accepted.notified() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn start_due(&self, attempts: &mut JoinSet<()>, busy: &mut HashMap<Id, Key>) {
        if busy.len() >= CONCURRENCY_MAX {
            return;
        }
        // Those under way are still due: asked for with the rest, and passed over.
        let max = CONCURRENCY_MAX + busy.len();
        let due = match self.spool.due_handshakes(self.ambient.now(), max).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(%error, "cannot ask the spool for handshakes");
                return;
            }
        };
        for handshake in due {
            let key = (
                handshake.workflow.to_string(),
                handshake.topic_arn.clone(),
                handshake.token.clone(),
            );
            if busy.len() < CONCURRENCY_MAX && !busy.values().any(|held| *held == key) {
                let confirmer = self.clone();
                let span = tracing::info_span!(
                    "confirm subscription",
                    otel.kind = "client",
                    messaging.system = "aws_sns",
                    messaging.destination.name = handshake.topic_arn,
                    signalbox.workflow = %handshake.workflow,
                );
                let task = async move { confirmer.attempt(handshake).await }.instrument(span);
                busy.insert(attempts.spawn(task).id(), key);
            }
        }
    }

    async fn attempt(&self, mut handshake: Handshake) {
        let outcome = self.confirm(&handshake).await;
        let now = self.ambient.now();
        handshake.attempts = handshake.attempts.saturating_add(1);
        let mut change = SubscriptionChange {
            workflow: handshake.workflow.clone(),
            topic_arn: handshake.topic_arn.clone(),
            subscription_arn: None,
            state: SubscriptionState::Confirmed,
            confirm_attempts: handshake.attempts,
            last_error: None,
        };
        let (label, next_attempt_at) = match outcome {
            Ok(arn) => {
                tracing::info!(subscription_arn = arn.as_str(), "subscription confirmed");
                change.subscription_arn = Some(arn.as_str().to_owned());
                ("confirmed", None)
            }
            Err(failure) => {
                let next = self
                    .next_attempt(&handshake, now)
                    .filter(|_| !failure.permanent);
                tracing::warn!(
                    workflow = %handshake.workflow,
                    topic_arn = handshake.topic_arn,
                    attempts = handshake.attempts,
                    gives_up = next.is_none(),
                    reason = failure.text,
                    "subscription not confirmed"
                );
                change.last_error = Some(failure.text);
                change.state = match next {
                    Some(_) => SubscriptionState::Pending,
                    None => SubscriptionState::Failed,
                };
                (if next.is_some() { "retried" } else { "failed" }, next)
            }
        };
        metrics::counter!("signalbox_ingest_confirmations_total", "result" => label).increment(1);
        let noted = self
            .spool
            .update_handshake(handshake, next_attempt_at, change);
        if let Err(error) = noted.await {
            tracing::warn!(%error, "the outcome of a confirmation cannot be noted; it will be tried again");
            tokio::time::sleep(SPOOL_PAUSE).await;
        }
    }

    /// Exponential, with jitter, and none after the subscription is gone.
    fn next_attempt(&self, handshake: &Handshake, now: Timestamp) -> Option<Timestamp> {
        let ConfirmPolicy {
            retry_min,
            retry_max,
            give_up_after,
        } = self.policy;
        let doublings = handshake.attempts.saturating_sub(1).min(20);
        let pause = retry_min
            .saturating_mul(1 << doublings)
            .min(retry_max)
            .mul_f64(0.5 + self.ambient.fraction() / 2.0);
        let add = |time: Timestamp, duration: Duration| {
            time.checked_add(SignedDuration::try_from(duration).ok()?)
                .ok()
        };
        let next = add(now, pause)?;
        (next < add(handshake.received_at, give_up_after)?).then_some(next)
    }

    async fn confirm(&self, handshake: &Handshake) -> Result<SubscriptionArn, Failure> {
        let topic = TopicArn::parse(&handshake.topic_arn).map_err(Failure::passing)?;
        let token = ConfirmToken::parse(&handshake.token).map_err(Failure::passing)?;
        let origin: CertOrigin = handshake
            .certificate_origin
            .parse()
            .map_err(Failure::passing)?;
        if let CertOrigin::Trusted(origin) = &origin
            && !self.trust.trusted_origins.contains(origin)
        {
            return Err(Failure::passing(
                "its origin is no longer among --sns-trusted-origin",
            ));
        }
        let url = ConfirmUrl::new(&topic, &token, &origin);
        let url = url::Url::parse(url.as_str()).map_err(Failure::passing)?;
        let response = self
            .certificates
            .egress(&origin)
            .request(reqwest::Method::GET, url)
            .map_err(Failure::passing)?
            .timeout(CONFIRM_TIMEOUT)
            .send()
            .await
            // The error's text would hold the URL, and with it the token.
            .map_err(|error| match denied(&error) {
                Some(denied) => Failure::passing(denied),
                None if error.is_timeout() => Failure::passing("no answer in time"),
                None => Failure::passing("SNS cannot be reached"),
            })?;
        let status = response.status();
        let body = read_body(response, CONFIRM_RESPONSE_MAX_BYTES)
            .await
            .map_err(Failure::passing)?;
        match parse_confirm_response(&body, &topic) {
            Ok(arn) if status.is_success() => Ok(arn),
            Ok(_) => Err(Failure::passing(format!(
                "SNS answered {}",
                status.as_u16()
            ))),
            Err(error) => Err(Failure {
                permanent: error.is_permanent() && !status.is_server_error(),
                text: format!("{error} (status {})", status.as_u16()),
            }),
        }
    }
}
