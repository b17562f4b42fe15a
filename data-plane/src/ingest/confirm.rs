//! Confirms subscriptions, in the background: durable handshakes, tried until they are confirmed or their tokens are dead.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use rand::RngExt as _;
use reqwest::Method;
use signalbox_model::record::{SubscriptionChange, SubscriptionState};
use signalbox_runtime::shutdown::Shutdown;
use signalbox_sns::{
    CONFIRM_RESPONSE_MAX_BYTES, CertOrigin, ConfirmToken, ConfirmUrl, SubscriptionArn, TopicArn,
    TrustPolicy, parse_confirm_response,
};

use super::{Certificates, later};
use crate::{
    egress::read_body,
    spool::{Handshake, Spool},
};

/// Tokens live two days (<https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html>).
const TOKEN_LIFE: Duration = Duration::from_secs(48 * 3600);
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Attempts under way at once.
const CONCURRENT_MAX: usize = 8;
/// Handshakes looked at together.
const BATCH_MAX: usize = 64;
/// Pauses between attempts, doubling.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// How often the spool is asked although no handshake was accepted.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Confirms the handshakes of a spool.
pub struct Confirmer {
    /// Where the handshakes are.
    pub spool: Arc<dyn Spool>,
    /// Clients for the outside.
    pub certificates: Certificates,
    /// Origins that are trusted now: a handshake of one that no longer is does not go out.
    pub trust: TrustPolicy,
}

/// Why an attempt confirmed nothing.
struct Failed {
    why: String,
    permanent: bool,
}

impl Confirmer {
    /// Until the shutdown.
    pub async fn run(self, shutdown: Shutdown) {
        let accepted = self.spool.handshake_accepted();
        loop {
            match self.spool.due_handshakes(Timestamp::now(), BATCH_MAX).await {
                Ok(due) => {
                    let attempts = stream::iter(due).map(|handshake| self.attempt(handshake));
                    let all = attempts
                        .buffer_unordered(CONCURRENT_MAX)
                        .collect::<Vec<()>>();
                    tokio::select! {
                        _ = all => {}
                        () = shutdown.forced() => return,
                    }
                }
                Err(error) => tracing::error!(%error, "handshakes cannot be read"),
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = accepted.notified() => {}
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
        }
    }

    async fn attempt(&self, handshake: Handshake) {
        let outcome = tokio::time::timeout(ATTEMPT_TIMEOUT, self.confirm(&handshake))
            .await
            .unwrap_or_else(|_| Err(temporary("no answer in time")));
        let attempts = handshake.attempts + 1;
        let now = Timestamp::now();
        let mut change = SubscriptionChange {
            workflow: handshake.workflow.clone(),
            topic_arn: handshake.topic_arn.clone(),
            subscription_arn: None,
            state: SubscriptionState::Confirmed,
            confirm_attempts: attempts,
            last_error: None,
        };
        let mut next_attempt_at = None;
        match outcome {
            Ok(arn) => {
                tracing::info!(topic = handshake.topic_arn, workflow = %handshake.workflow, "subscription confirmed");
                change.subscription_arn = Some(arn.as_str().to_owned());
            }
            Err(Failed { why, permanent }) => {
                let next = later(now, pause(attempts));
                let over = permanent || next > later(handshake.received_at, TOKEN_LIFE);
                tracing::warn!(
                    topic = handshake.topic_arn, workflow = %handshake.workflow, attempts, why, over,
                    "subscription not confirmed"
                );
                change.state = if over {
                    SubscriptionState::Failed
                } else {
                    SubscriptionState::Pending
                };
                change.last_error = Some(why);
                next_attempt_at = (!over).then_some(next);
            }
        }
        let result = match change.state {
            SubscriptionState::Confirmed => "confirmed",
            _ => "failed",
        };
        metrics::counter!("signalbox_ingest_confirmations_total", "result" => result).increment(1);
        if let Err(error) = self
            .spool
            .update_handshake(handshake, next_attempt_at, change)
            .await
        {
            tracing::error!(%error, "a confirmation's outcome cannot be kept; it will be tried again");
        }
    }

    async fn confirm(&self, handshake: &Handshake) -> Result<SubscriptionArn, Failed> {
        let permanent = |why: &str| Failed {
            why: why.to_owned(),
            permanent: true,
        };
        let topic = TopicArn::parse(&handshake.topic_arn)
            .map_err(|_| permanent("the topic's ARN is unusable"))?;
        let token = ConfirmToken::parse(&handshake.token)
            .map_err(|_| permanent("the token is unusable"))?;
        let origin: CertOrigin = handshake
            .certificate_origin
            .parse()
            .map_err(|_| permanent("the origin is unusable"))?;
        if let CertOrigin::Trusted(origin) = &origin
            && !self.trust.trusted_origins.contains(origin)
        {
            return Err(temporary("its origin is not among --sns-trusted-origin"));
        }
        let url = ConfirmUrl::new(&topic, &token, &origin);
        let url = url::Url::parse(url.as_str())
            .map_err(|_| permanent("the confirmation's URL is unusable"))?;
        let response = self
            .certificates
            .egress(&origin)
            .request(Method::GET, url)
            .map_err(|denied| temporary(&denied.to_string()))?
            .timeout(ATTEMPT_TIMEOUT)
            .send()
            .await
            // The error's text would hold the URL, and with it the token.
            .map_err(|error| {
                temporary(if error.is_timeout() {
                    "no answer in time"
                } else {
                    "SNS cannot be reached"
                })
            })?;
        let status = response.status();
        let body = read_body(response, CONFIRM_RESPONSE_MAX_BYTES)
            .await
            .map_err(|error| temporary(&error.to_string()))?;
        parse_confirm_response(&body, &topic).map_err(|error| Failed {
            why: format!("{error} (status {})", status.as_u16()),
            permanent: error.is_permanent() && !status.is_server_error(),
        })
    }
}

fn temporary(why: &str) -> Failed {
    Failed {
        why: why.to_owned(),
        permanent: false,
    }
}

/// Exponential, of which up to half is taken off at random.
fn pause(attempts: u32) -> Duration {
    let full = PAUSE_MIN
        .saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(20)))
        .min(PAUSE_MAX);
    full.mul_f64(1.0 - rand::rng().random_range(0.0..0.5))
}
