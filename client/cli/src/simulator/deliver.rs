//! One request, and Amazon SNS's patience.

use std::time::Duration;

use super::{Post, SimulatedSns};

/// How long Amazon SNS waits for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_SHOWN_CHARS: usize = 2000;
const ANSWER_MAX_BYTES: usize = 64 * 1024;

/// How often, and after which pauses, a failed delivery is tried again: retries without pause, then some at the shortest
/// pause, then some that grow to the longest, then some at the longest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeliveryPolicy {
    /// How long an answer may take.
    pub answer_timeout: Duration,
    /// Retries without pause.
    pub immediate: u32,
    /// Retries at [`Self::pause_min`].
    pub steady: u32,
    /// Retries with a growing pause.
    pub growing: u32,
    /// Retries at [`Self::pause_max`].
    pub last: u32,
    /// Shortest pause.
    pub pause_min: Duration,
    /// Longest pause.
    pub pause_max: Duration,
    /// Nothing is tried again later than this after the first attempt.
    pub total_max: Duration,
}

impl DeliveryPolicy {
    /// What Amazon SNS does with HTTP(S) endpoints unless told otherwise: 50 retries.
    pub const AWS_DEFAULT: Self = Self {
        answer_timeout: ANSWER_TIMEOUT,
        immediate: 3,
        steady: 2,
        growing: 10,
        last: 35,
        pause_min: Duration::from_secs(1),
        pause_max: Duration::from_secs(20),
        total_max: Duration::from_secs(3600),
    };

    /// The same with pauses of `factor` times their length; the time for an answer stays.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scale = |pause: Duration| {
            Duration::try_from_secs_f64(pause.as_secs_f64() * factor).unwrap_or(pause)
        };
        Self {
            pause_min: scale(self.pause_min),
            pause_max: scale(self.pause_max),
            total_max: scale(self.total_max),
            ..self
        }
    }

    /// The pause before retry `number` (from 1); [`None`]: no more.
    #[must_use]
    pub fn pause(&self, number: u32) -> Option<Duration> {
        let steady = self.immediate + self.steady;
        let growing = steady + self.growing;
        if number <= self.immediate {
            Some(Duration::ZERO)
        } else if number <= steady {
            Some(self.pause_min)
        } else if number <= growing {
            let step = f64::from(number - steady) / f64::from(self.growing);
            let ratio =
                self.pause_max.as_secs_f64() / self.pause_min.as_secs_f64().max(f64::EPSILON);
            Some(self.pause_min.mul_f64(ratio.powf(step)).min(self.pause_max))
        } else if number <= growing + self.last {
            Some(self.pause_max)
        } else {
            None
        }
    }
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The receiver answered.
    Answered {
        /// Status.
        status: u16,
        /// Body, cut.
        body: String,
    },
    /// It did not; why. Never holds the endpoint.
    Failed(String),
}

impl Delivered {
    /// 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Answered { status, .. } if (200..300).contains(status))
    }

    /// Whether Amazon SNS would try again: 5xx, 429, time-outs and broken connections. Everything else is for good.
    #[must_use]
    pub fn is_retried(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status >= 500 || *status == 429,
            Self::Failed(_) => true,
        }
    }
}

impl SimulatedSns {
    /// One attempt, as Amazon SNS makes it: credentials of the endpoint go out only when a Basic challenge asks for them.
    pub async fn attempt(&self, endpoint: &str, post: &Post) -> Delivered {
        let Ok(mut url) = url::Url::parse(endpoint) else {
            return Delivered::Failed("the endpoint is no URL".to_owned());
        };
        let credentials = url
            .password()
            .map(|password| (decoded(url.username()), decoded(password)));
        // Both fail only for URLs that have no host, to which nothing is sent.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        match self.exchange(url, credentials, post).await {
            Ok(delivered) => delivered,
            Err(error) if error.is_timeout() => {
                Delivered::Failed(format!("no answer within {:?}", self.policy.answer_timeout))
            }
            Err(error) => Delivered::Failed(signalbox_runtime::exit::chain(&error.without_url())),
        }
    }

    async fn exchange(
        &self,
        url: url::Url,
        credentials: Option<(String, String)>,
        post: &Post,
    ) -> Result<Delivered, reqwest::Error> {
        let request = || {
            let request = self
                .client
                .post(url.clone())
                .timeout(self.policy.answer_timeout)
                .body(post.signed.body.clone());
            post.signed
                .headers
                .iter()
                .fold(request, |request, (name, value)| {
                    request.header(*name, value)
                })
        };
        let mut answer = request().send().await?;
        if let Some((user, password)) = credentials
            && is_basic_challenge(&answer)
        {
            answer = request().basic_auth(user, Some(password)).send().await?;
        }
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            let left = ANSWER_MAX_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(left)]);
            if body.len() == ANSWER_MAX_BYTES {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body);
        let body = body.chars().take(ANSWER_SHOWN_CHARS).collect();
        Ok(Delivered::Answered { status, body })
    }

    /// Delivers as Amazon SNS does: again and again while the answer is one that it retries. Gives the last attempt and
    /// how many there were.
    pub async fn deliver(&self, endpoint: &str, post: &Post) -> (Delivered, u32) {
        let start = tokio::time::Instant::now();
        let mut attempts = 0;
        loop {
            let delivered = self.attempt(endpoint, post).await;
            attempts += 1;
            if !delivered.is_retried() {
                return (delivered, attempts);
            }
            match self.policy.pause(attempts) {
                Some(pause) if start.elapsed() + pause <= self.policy.total_max => {
                    tokio::time::sleep(pause).await;
                }
                _ => return (delivered, attempts),
            }
        }
    }
}

fn is_basic_challenge(answer: &reqwest::Response) -> bool {
    answer.status() == http::StatusCode::UNAUTHORIZED
        && answer
            .headers()
            .get_all(http::header::WWW_AUTHENTICATE)
            .iter()
            .any(|value| {
                let scheme = value.as_bytes().get(..5);
                scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"basic"))
            })
}

/// What percent-encoding in a URL's user information stands for.
fn decoded(text: &str) -> String {
    // A form reads `+` as a space, which user information does not.
    let form = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}
