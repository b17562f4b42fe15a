//! Confirming a subscription: the one request that answers a message.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::form_urlencoded::Serializer as QuerySerializer;

use crate::{CertOrigin, SubscriptionArn, TopicArn};

#[cfg(test)]
mod tests;

/// Largest answer to ConfirmSubscription that is read, in bytes. AWS's are below 1 KiB: the fetch may stop here.
pub const CONFIRM_RESPONSE_MAX_BYTES: usize = 64 * 1024;
const TOKEN_MAX_BYTES: usize = 2048;
const ERROR_CODE_MAX_BYTES: usize = 64;
const XML_DEPTH_MAX: usize = 8;

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a confirmation token is 1 to {TOKEN_MAX_BYTES} bytes without control characters")]
pub struct ConfirmTokenError;

/// The token of a confirmation. Whoever has it can confirm (the token alone decides at AWS), so `Debug` hides it;
/// serde does not, because it must be stored until the subscription is confirmed.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfirmToken(String);

impl ConfirmToken {
    /// Takes a signed Token. It is opaque.
    ///
    /// # Errors
    /// When it is empty, too long, or holds a control character.
    pub fn parse(text: &str) -> Result<Self, ConfirmTokenError> {
        if !(1..=TOKEN_MAX_BYTES).contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(ConfirmTokenError);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token itself, to be stored; never to be logged or shown.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ConfirmToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfirmToken([redacted])")
    }
}

impl Serialize for ConfirmToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ConfirmToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The URL that confirms a subscription, built from the signed topic and token. The SubscribeURL of the message is
/// never followed: it may name any host and any action. `Debug` hides the token.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfirmUrl {
    origin: String,
    url: String,
}

impl ConfirmUrl {
    /// `https://sns.<region>.<suffix>/?Action=ConfirmSubscription&…` (ConfirmSubscription, SNS API reference), or the
    /// same at the trusted origin that served the certificate.
    pub fn new(topic: &TopicArn, token: &ConfirmToken, origin: &CertOrigin) -> Self {
        let origin = match origin {
            CertOrigin::Aws => format!("https://{}", topic.region().sns_host()),
            CertOrigin::Trusted(origin) => origin.to_string(),
        };
        let query = QuerySerializer::new(String::new())
            .append_pair("Action", "ConfirmSubscription")
            .append_pair("TopicArn", topic.as_str())
            .append_pair("Token", token.expose())
            .append_pair("Version", "2010-03-31")
            .finish();
        Self {
            url: format!("{origin}/?{query}"),
            origin,
        }
    }

    /// The URL to GET: without following redirects, bounded in size and time.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Scheme, host and port: what may be logged.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for ConfirmUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfirmUrl({}/?[redacted])", self.origin)
    }
}

/// Why an answer to ConfirmSubscription confirms nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    /// Larger than [`CONFIRM_RESPONSE_MAX_BYTES`].
    #[error("answer to ConfirmSubscription is larger than {CONFIRM_RESPONSE_MAX_BYTES} bytes")]
    TooLarge,
    /// Neither the documented XML nor its JSON form.
    #[error("answer to ConfirmSubscription is not understood")]
    Malformed,
    /// SNS answered with an error.
    #[error("SNS refused the confirmation: {code}")]
    Refused {
        /// The error's code, e.g. `InvalidParameter`: letters, digits and dots only.
        code: String,
    },
    /// The answer holds no subscription's ARN.
    #[error("answer to ConfirmSubscription holds no subscription ARN")]
    NoSubscription,
    /// The subscription is of another topic than the one that was confirmed.
    #[error("confirmed subscription is of another topic")]
    OtherTopic,
}

impl ConfirmError {
    /// A stable kebab-case word for records, metrics and tests.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "confirm-answer-too-large",
            Self::Malformed => "confirm-answer-malformed",
            Self::Refused { .. } => "confirm-refused",
            Self::NoSubscription => "confirm-answer-no-subscription",
            Self::OtherTopic => "confirm-answer-other-topic",
        }
    }

    /// Whether asking again cannot help: the errors that ConfirmSubscription documents as the request's fault (an
    /// unknown or outlived token, a topic that is gone, no permission), and a subscription of another topic.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { code } => matches!(
                code.as_str(),
                "InvalidParameter" | "InvalidParameterValue" | "NotFound" | "AuthorizationError"
            ),
            Self::OtherTopic => true,
            Self::TooLarge | Self::Malformed | Self::NoSubscription => false,
        }
    }
}

/// Reads the answer to a [`ConfirmUrl`], of whatever status: XML as AWS and LocalStack write it, or the JSON that AWS
/// writes to those who accept it.
///
/// # Errors
/// When it is not understood, is SNS's refusal, or confirms a subscription of another topic than `topic`.
pub fn parse_confirm_response(
    body: &[u8],
    topic: &TopicArn,
) -> Result<SubscriptionArn, ConfirmError> {
    if body.len() > CONFIRM_RESPONSE_MAX_BYTES {
        return Err(ConfirmError::TooLarge);
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| ConfirmError::Malformed)?
        .trim_start_matches('\u{feff}');
    let Answer { subscription, code } = if text.trim_start().starts_with('{') {
        from_json(text)?
    } else {
        from_xml(text)?
    };
    if let Some(code) = code {
        return Err(ConfirmError::Refused {
            code: clean_code(&code),
        });
    }
    let subscription = subscription.ok_or(ConfirmError::NoSubscription)?;
    let subscription =
        SubscriptionArn::parse(subscription.trim()).map_err(|_| ConfirmError::NoSubscription)?;
    if subscription.topic() != topic {
        return Err(ConfirmError::OtherTopic);
    }
    Ok(subscription)
}

#[derive(Default)]
struct Answer {
    subscription: Option<String>,
    code: Option<String>,
}

fn from_json(text: &str) -> Result<Answer, ConfirmError> {
    let value: serde_json::Value =
        serde_json::from_str(text).map_err(|_| ConfirmError::Malformed)?;
    let string = |pointer| {
        value
            .pointer(pointer)
            .and_then(serde_json::Value::as_str)
            .map(str::to_owned)
    };
    Ok(Answer {
        subscription: string(
            "/ConfirmSubscriptionResponse/ConfirmSubscriptionResult/SubscriptionArn",
        ),
        code: string("/Error/Code"),
    })
}

fn from_xml(text: &str) -> Result<Answer, ConfirmError> {
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut answer = Answer::default();
    let mut elements = 0_usize;
    loop {
        match reader.read_event().map_err(|_| ConfirmError::Malformed)? {
            Event::Start(start) => {
                if path.len() == XML_DEPTH_MAX {
                    return Err(ConfirmError::Malformed);
                }
                path.push(start.local_name().as_ref().to_owned());
                elements += 1;
            }
            Event::End(_) => {
                path.pop();
            }
            Event::Text(text) => {
                let names: Vec<&str> = path.iter().map(String::as_str).collect();
                let slot = match names[..] {
                    [
                        "ConfirmSubscriptionResponse",
                        "ConfirmSubscriptionResult",
                        "SubscriptionArn",
                    ] => &mut answer.subscription,
                    ["ErrorResponse", "Error", "Code"] => &mut answer.code,
                    _ => continue,
                };
                if slot.replace(text.into_inner().into_owned()).is_some() {
                    return Err(ConfirmError::Malformed);
                }
            }
            // Neither AWS nor LocalStack writes them where it matters; a DTD could define anything.
            Event::DocType(_) => return Err(ConfirmError::Malformed),
            Event::GeneralRef(_) | Event::CData(_)
                if path.last().is_some_and(|name| name == "SubscriptionArn") =>
            {
                return Err(ConfirmError::Malformed);
            }
            Event::Eof if path.is_empty() && elements > 0 => return Ok(answer),
            Event::Eof => return Err(ConfirmError::Malformed),
            _ => {}
        }
    }
}

/// An error code fit for records: whatever answered may be anyone.
fn clean_code(code: &str) -> String {
    code.chars()
        .filter(|character| character.is_ascii_alphanumeric() || *character == '.')
        .take(ERROR_CODE_MAX_BYTES)
        .collect()
}
