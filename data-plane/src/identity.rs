//! Which node this is, so that it can be proved: a key pair in the data folder, and the tokens that it gets.
//!
//! An enrollment token makes the key known, once. From then on the node renews its token by the key, before it ends, and after
//! however long an outage.

mod key;

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use signalbox_client::{Client, ClientError, CurrentToken};
use signalbox_model::{
    enrollment::{Purpose, statement},
    ids::NodeId,
};
use signalbox_proto::{convert::time, dataplane::v1 as wire};
use signalbox_runtime::{ambient::Ambient, backoff::Backoff, exit, shutdown::Shutdown};
use tonic::Code;

pub use key::{IDENTITY_KEY_FILE, IdentityKey, IdentityKeyError};

/// Pause after a refusal: nothing but an operator mends it.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// A shorter life of a token would be renewed without pause.
const LIFETIME_MIN: Duration = Duration::from_secs(1);
/// Size of a file with an enrollment token, in bytes.
const TOKEN_FILE_MAX_BYTES: u64 = 64 * 1024;

/// Where the enrollment token comes from.
#[derive(Clone, Debug)]
pub enum EnrollmentSource {
    /// Given.
    Value(SecretString),
    /// A file, read when it is needed.
    File(PathBuf),
}

impl EnrollmentSource {
    fn read(&self) -> Result<SecretString, IdentityError> {
        let text = match self {
            Self::Value(token) => token.expose_secret().to_owned(),
            Self::File(path) => {
                read_file(path).map_err(|error| IdentityError::File(path.clone(), error))?
            }
        };
        Ok(text.trim().to_owned().into())
    }
}

fn read_file(path: &std::path::Path) -> io::Result<String> {
    use io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(TOKEN_FILE_MAX_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum IdentityError {
    #[error("the enrollment token cannot be read from {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the control plane's answer holds no token")]
    Empty,
    #[error("{renewal}; {enrollment}")]
    Both {
        renewal: Box<Self>,
        enrollment: Box<Self>,
    },
}

impl IdentityError {
    /// Whether the control plane has said no.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Client(ClientError::Api(api)) => {
                matches!(api.code, Code::PermissionDenied | Code::InvalidArgument)
            }
            Self::Both { enrollment, .. } => enrollment.is_refusal(),
            Self::Client(_) | Self::File(..) | Self::Empty => false,
        }
    }
}

/// A token, and how long it counts.
struct Granted {
    jwt: SecretString,
    lifetime: Duration,
}

impl Granted {
    fn of(token: Option<wire::NodeToken>) -> Result<Self, IdentityError> {
        let token = token.filter(|token| !token.jwt.is_empty());
        let token = token.ok_or(IdentityError::Empty)?;
        let lifetime = token.lifetime.and_then(|it| time::duration(it).ok());
        Ok(Self {
            jwt: token.jwt.into(),
            lifetime: lifetime.unwrap_or_default().max(LIFETIME_MIN),
        })
    }
}

/// Keeps a node's token current.
pub struct IdentityClient {
    /// Which node.
    pub node: NodeId,
    /// What it is known by.
    pub key: IdentityKey,
    /// What makes it known.
    pub enrollment: Option<EnrollmentSource>,
    /// The control plane.
    pub client: Client,
    /// What is kept current.
    pub token: CurrentToken,
    /// The time that is proved by, and chance, for when nodes renew.
    pub ambient: Arc<dyn Ambient>,
}

impl IdentityClient {
    /// Until the shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut backoff = Backoff::reconnect_seeded(self.ambient.random());
        let mut proofs = Proofs::default();
        let mut told = String::new();
        loop {
            let place = self.client.place();
            let obtained = tokio::select! {
                biased;
                () = shutdown.stopping() => return,
                obtained = self.obtain(&mut proofs) => obtained,
            };
            let goes_on = match obtained {
                Ok(granted) => {
                    backoff.reset();
                    if !told.is_empty() {
                        tracing::info!("the node has a token again");
                        told.clear();
                    }
                    let pause = self.take(granted);
                    self.pause(pause, true, &shutdown).await
                }
                Err(error) => {
                    self.client.leave(place);
                    let mut pause = backoff.next_delay();
                    if error.is_refusal() {
                        pause = pause.max(REFUSED_PAUSE);
                    }
                    note(&error, pause, &mut told);
                    self.pause(pause, false, &shutdown).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Waits; not longer than until somebody was refused with the token, where `wakes`. False: the shutdown has begun.
    async fn pause(&self, pause: Duration, wakes: bool, shutdown: &Shutdown) -> bool {
        tokio::select! {
            biased;
            () = shutdown.stopping() => false,
            () = self.token.refused(), if wakes => true,
            () = tokio::time::sleep(pause) => true,
        }
    }

    /// Uses a token; says when it is to be renewed: when two thirds of its life are over, or a little sooner, so that nodes that
    /// began together do not stay together.
    fn take(&self, Granted { jwt, lifetime }: Granted) -> Duration {
        self.token.set(jwt);
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
        let end = self.ambient.now().as_second() as f64 + lifetime.as_secs_f64();
        metrics::gauge!("signalbox_node_token_expiry_timestamp_seconds").set(end);
        renewal(lifetime, self.ambient.fraction())
    }

    async fn obtain(&mut self, proofs: &mut Proofs) -> Result<Granted, IdentityError> {
        let renewal = match self.key.is_new && self.enrollment.is_some() {
            // Nobody knows it.
            true => None,
            false => match self.renew(proofs).await {
                Err(error) if error.is_refusal() && self.enrollment.is_some() => Some(error),
                renewed => return counted("renewed", renewed),
            },
        };
        let enrolled = self.enroll(proofs).await;
        let enrolled = enrolled.map_err(|enrollment| match renewal {
            None => enrollment,
            Some(renewal) => IdentityError::Both {
                renewal: Box::new(renewal),
                enrollment: Box::new(enrollment),
            },
        });
        let granted = counted("enrolled", enrolled)?;
        self.key.is_new = false;
        tracing::info!(node = %self.node, "the node has enrolled");
        Ok(granted)
    }

    async fn renew(&self, proofs: &mut Proofs) -> Result<Granted, IdentityError> {
        let request = wire::RenewNodeTokenRequest {
            node_id: self.node.to_string(),
            proof: Some(self.prove(Purpose::Renew, proofs)),
        };
        let answer = self.client.enrollment().renew_node_token(request).await;
        Granted::of(answer.map_err(ClientError::from)?.into_inner().token)
    }

    async fn enroll(&self, proofs: &mut Proofs) -> Result<Granted, IdentityError> {
        let Some(source) = &self.enrollment else {
            return Err(IdentityError::Empty);
        };
        let secret = source.read()?;
        let secret = secret.expose_secret();
        let request = wire::EnrollNodeRequest {
            enrollment_token: secret.to_owned(),
            node_id: self.node.to_string(),
            public_key: self.key.public().to_vec().into(),
            proof: Some(self.prove(Purpose::Enroll(secret), proofs)),
        };
        let answer = self.client.enrollment().enroll_node(request).await;
        Granted::of(answer.map_err(ClientError::from)?.into_inner().token)
    }

    fn prove(&self, purpose: Purpose<'_>, proofs: &mut Proofs) -> wire::Proof {
        let time = proofs.next(self.ambient.now());
        let statement = statement(purpose, &self.node, time);
        wire::Proof {
            time: Some(time::to_wire(time)),
            signature: self.key.sign(&statement).into(),
        }
    }
}

/// The times of proofs: each is later than the one before, whatever the clock does.
#[derive(Debug, Default)]
struct Proofs {
    last_us: i64,
}

impl Proofs {
    fn next(&mut self, now: Timestamp) -> Timestamp {
        self.last_us = now.as_microsecond().max(self.last_us.saturating_add(1));
        Timestamp::from_microsecond(self.last_us).unwrap_or(now)
    }
}

/// When a token with this much life is renewed, by a number from 0 to 1.
fn renewal(lifetime: Duration, fraction: f64) -> Duration {
    lifetime.mul_f64(0.6 + fraction * (2.0 / 3.0 - 0.6))
}

fn counted(
    good: &'static str,
    outcome: Result<Granted, IdentityError>,
) -> Result<Granted, IdentityError> {
    let word = match &outcome {
        Ok(_) => good,
        Err(error) if error.is_refusal() => "refused",
        Err(_) => "failed",
    };
    metrics::counter!("signalbox_node_token_renewals_total", "outcome" => word).increment(1);
    outcome
}

fn note(error: &IdentityError, pause: Duration, told: &mut String) {
    let reason = exit::chain(error);
    let wait_s = pause.as_secs();
    // Once for each reason, not once for each attempt.
    if *told == reason {
        tracing::debug!(reason, wait_s, "still no new token");
    } else {
        tracing::warn!(
            reason,
            wait_s,
            "the node gets no token; it is tried again, and what is known stays in use"
        );
        *told = reason;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_when_two_thirds_of_their_life_are_over() {
        let lifetime = Duration::from_secs(3600);
        assert_eq!(renewal(lifetime, 0.0), Duration::from_secs(2160));
        assert_eq!(renewal(lifetime, 1.0), Duration::from_secs(2400));
    }

    #[test]
    fn each_proof_is_later_than_the_one_before() {
        let mut proofs = Proofs::default();
        let now = Timestamp::UNIX_EPOCH + Duration::from_nanos(5_000_900);
        let times: Vec<_> = [now, now, now - Duration::from_millis(1), now]
            .into_iter()
            .map(|now| proofs.next(now).as_microsecond())
            .collect();
        assert_eq!(times, [5000, 5001, 5002, 5003]);
    }
}
