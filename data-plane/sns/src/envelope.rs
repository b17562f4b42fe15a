//! The signed JSON body of a delivery, parsed once into what was signed and what was not.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest::{Algorithm, Context, Digest};
use jiff::Timestamp;

use crate::{HeaderError, Headers, MessageAttributes, MessageType, SubscriptionArn, TopicArn};

mod error;
mod field;
pub(crate) mod object;
mod redact;
#[cfg(test)]
mod tests;

pub use error::EnvelopeError;
pub use field::Field;
pub use redact::redacted_body;

use object::{Member, ObjectError};

/// Largest body parsed, in bytes. 256 KiB of payload, each byte escaped sixfold, and the other fields stay below it;
/// the ingress sets its own, lower bound.
pub const ENVELOPE_MAX_BYTES: usize = 4 * 1024 * 1024;
const MEMBERS_MAX: usize = 64;
const DEPTH_MAX: usize = 16;

/// A parsed envelope. Nothing in it is proven yet: [`crate::verify`] does that.
pub struct Envelope<'a> {
    body: &'a [u8],
    capability_spans: Vec<Range<usize>>,
    message_type: MessageType,
    message_id: Cow<'a, str>,
    topic_arn: TopicArn,
    subject: Option<Cow<'a, str>>,
    message: Cow<'a, str>,
    timestamp: Timestamp,
    timestamp_text: Cow<'a, str>,
    confirmation: Option<Confirmation<'a>>,
    signature_version: Cow<'a, str>,
    signature: Cow<'a, str>,
    signing_cert_url: Cow<'a, str>,
    attributes: MessageAttributes,
}

struct Confirmation<'a> {
    token: Cow<'a, str>,
    subscribe_url: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Parses a body, borrowing from it what holds no escape. Unknown fields are tolerated, ambiguity is not: whatever
    /// two readers could read differently is refused.
    ///
    /// # Errors
    /// The first rule that the body breaks.
    pub fn parse(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        if body.len() > ENVELOPE_MAX_BYTES {
            return Err(EnvelopeError::TooLarge);
        }
        Self::parse_kept(body)
    }

    /// Parses a body that was parsed when it came, and was kept ([`Envelope::redacted_body`]): it may be longer than one that
    /// comes, for redacting replaces also what is shorter.
    ///
    /// # Errors
    /// The first rule that the body breaks.
    pub fn parse_kept(body: &'a [u8]) -> Result<Self, EnvelopeError> {
        let (text, members) = open(body)?;
        let fields = Fields::sort(&members)?;
        let message_type: MessageType = fields
            .signed(Field::Type)?
            .parse()
            .map_err(|_| EnvelopeError::UnknownType)?;
        let timestamp_text = fields.signed(Field::Timestamp)?;
        let confirmation = match message_type {
            MessageType::Notification => None,
            MessageType::SubscriptionConfirmation | MessageType::UnsubscribeConfirmation => {
                Some(Confirmation {
                    token: fields.signed(Field::Token)?,
                    subscribe_url: fields.signed(Field::SubscribeUrl)?,
                })
            }
        };
        let subject = match message_type {
            MessageType::Notification => fields.optional(Field::Subject)?,
            MessageType::SubscriptionConfirmation | MessageType::UnsubscribeConfirmation => None,
        };
        if let Some(subject) = &subject {
            no_control_character(Field::Subject, subject)?;
        }
        fields.optional(Field::UnsubscribeUrl)?;
        Ok(Self {
            body,
            capability_spans: redact::capability_spans(text, &members),
            message_type,
            message_id: fields.signed(Field::MessageId)?,
            topic_arn: TopicArn::parse(&fields.signed(Field::TopicArn)?)?,
            subject,
            message: fields
                .optional(Field::Message)?
                .ok_or(EnvelopeError::Missing(Field::Message))?,
            timestamp: parse_timestamp(&timestamp_text)?,
            timestamp_text,
            confirmation,
            signature_version: fields.of_signature(Field::SignatureVersion)?,
            signature: fields.of_signature(Field::Signature)?,
            signing_cert_url: fields.of_signature(Field::SigningCertUrl)?,
            attributes: match fields.raw(Field::MessageAttributes) {
                Some(raw) => MessageAttributes::parse(raw)?,
                None => MessageAttributes::default(),
            },
        })
    }

    /// Refuses headers that contradict the signed fields. An absent header contradicts nothing.
    ///
    /// # Errors
    /// The first header that contradicts.
    pub fn check_headers(&self, headers: &Headers<'_>) -> Result<(), HeaderError> {
        let Headers {
            message_type,
            message_id,
            topic_arn,
            subscription_arn,
            raw_delivery,
        } = *headers;
        if message_type.is_some_and(|header| header != self.message_type.as_str()) {
            return Err(HeaderError::MessageType);
        }
        if message_id.is_some_and(|header| header != self.message_id) {
            return Err(HeaderError::MessageId);
        }
        if topic_arn.is_some_and(|header| header != self.topic_arn.as_str()) {
            return Err(HeaderError::TopicArn);
        }
        if subscription_arn.is_some_and(|header| self.is_of_other_topic(header)) {
            return Err(HeaderError::SubscriptionArn);
        }
        if raw_delivery {
            return Err(HeaderError::RawDelivery);
        }
        Ok(())
    }

    /// Whether a text is the ARN of another topic's subscription.
    fn is_of_other_topic(&self, subscription_arn: &str) -> bool {
        let rest = subscription_arn.strip_prefix(self.topic_arn.as_str());
        if rest.is_some_and(|rest| rest.starts_with(':')) {
            return false;
        }
        SubscriptionArn::parse(subscription_arn)
            .is_ok_and(|subscription| *subscription.topic() != self.topic_arn)
    }

    /// What the signature is over: for each key present, `key\nvalue\n`, in the documented order ("Verifying the
    /// signatures of Amazon SNS messages").
    pub fn string_to_sign(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.message.len() + 1024);
        self.each_signed(|part| text.extend_from_slice(part));
        text
    }

    /// The digest of [`Envelope::string_to_sign`], which is not made for it.
    pub(crate) fn signed_digest(&self, algorithm: &'static Algorithm) -> Digest {
        let mut context = Context::new(algorithm);
        self.each_signed(|part| context.update(part));
        context.finish()
    }

    fn each_signed(&self, mut part: impl FnMut(&[u8])) {
        let mut push = |field, value: &str| each_part(field, value, &mut part);
        push(Field::Message, &self.message);
        push(Field::MessageId, &self.message_id);
        if let Some(subject) = &self.subject {
            push(Field::Subject, subject);
        }
        if let Some(confirmation) = &self.confirmation {
            push(Field::SubscribeUrl, &confirmation.subscribe_url);
        }
        push(Field::Timestamp, &self.timestamp_text);
        if let Some(confirmation) = &self.confirmation {
            push(Field::Token, &confirmation.token);
        }
        push(Field::TopicArn, self.topic_arn.as_str());
        push(Field::Type, self.message_type.as_str());
    }

    /// The body as received, fit to be kept: see [`redacted_body`].
    pub fn redacted_body(&self) -> Cow<'a, [u8]> {
        redact::replace(self.body, &self.capability_spans)
    }

    /// Type (signed).
    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    /// MessageId (signed): opaque, unique per message of a topic.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    /// TopicArn (signed).
    pub fn topic_arn(&self) -> &TopicArn {
        &self.topic_arn
    }

    /// Subject (signed where present).
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }

    /// Message (signed).
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Timestamp (signed): when the message was published.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// SigningCertURL (unsigned): only ever read by [`crate::SigningCertUrl::parse`].
    pub fn signing_cert_url(&self) -> &str {
        &self.signing_cert_url
    }

    /// MessageAttributes, which no signature covers.
    pub fn unsigned_attributes(&self) -> &MessageAttributes {
        &self.attributes
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.confirmation
            .as_ref()
            .map(|confirmation| confirmation.token.as_ref())
    }

    pub(crate) fn signature_version(&self) -> &str {
        &self.signature_version
    }

    pub(crate) fn signature(&self) -> &str {
        &self.signature
    }
}

/// Shows what tells one envelope from another, and neither message nor capabilities.
impl fmt::Debug for Envelope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("message_type", &self.message_type)
            .field("message_id", &self.message_id)
            .field("topic_arn", &self.topic_arn)
            .field("timestamp", &self.timestamp)
            .field("message_bytes", &self.message.len())
            .finish_non_exhaustive()
    }
}

/// What a field adds to the string to sign.
pub(crate) fn each_part(field: Field, value: &str, part: &mut impl FnMut(&[u8])) {
    for text in [field.name(), "\n", value, "\n"] {
        part(text.as_bytes());
    }
}

/// The body as text and as the members of its one object, no key twice.
fn open(body: &[u8]) -> Result<(&str, Vec<Member<'_>>), EnvelopeError> {
    if body.starts_with("\u{feff}".as_bytes()) {
        return Err(EnvelopeError::ByteOrderMark);
    }
    let text = std::str::from_utf8(body).map_err(|_| EnvelopeError::NotUtf8)?;
    let members = object::members(text, MEMBERS_MAX).map_err(|error| match error {
        ObjectError::NotAnObject => EnvelopeError::NotAnObject,
        ObjectError::Syntax => EnvelopeError::Syntax,
        ObjectError::Trailing => EnvelopeError::Trailing,
        ObjectError::TooManyMembers => EnvelopeError::TooManyFields,
    })?;
    // They are few: comparing all is cheaper than hashing them.
    let repeated = |(at, member): (usize, &Member<'_>)| {
        let before = &members[..at];
        before.iter().any(|earlier| earlier.key == member.key)
    };
    if members.iter().enumerate().any(repeated) {
        return Err(EnvelopeError::DuplicateKey);
    }
    Ok((text, members))
}

/// The known members by field.
struct Fields<'a>([Option<&'a str>; Field::ALL.len()]);

impl<'a> Fields<'a> {
    fn sort(members: &[Member<'a>]) -> Result<Self, EnvelopeError> {
        let mut fields = Self([None; Field::ALL.len()]);
        for member in members {
            if let Some(field) = Field::from_key(&member.key) {
                fields.0[field as usize] =
                    Some(member.raw).filter(|raw| !(*raw == "null" && field.is_optional()));
            } else if let Some(field) = Field::resembling(&member.key) {
                return Err(EnvelopeError::Alias(field));
            } else if object::nests_deeper(member.raw, DEPTH_MAX) {
                return Err(EnvelopeError::TooDeep);
            }
        }
        Ok(fields)
    }

    fn raw(&self, field: Field) -> Option<&'a str> {
        self.0[field as usize]
    }

    fn optional(&self, field: Field) -> Result<Option<Cow<'a, str>>, EnvelopeError> {
        let Some(raw) = self.raw(field) else {
            return Ok(None);
        };
        let text = object::string(raw).ok_or(EnvelopeError::WrongType(field))?;
        if text.len() > field.bytes_max() {
            return Err(EnvelopeError::TooLong(field));
        }
        Ok(Some(text))
    }

    /// A signed field other than Message: a control character in one (a newline above all) would let a signature be
    /// read again as another message's, past deduplication.
    fn signed(&self, field: Field) -> Result<Cow<'a, str>, EnvelopeError> {
        let text = self.optional(field)?.ok_or(EnvelopeError::Missing(field))?;
        if text.is_empty() {
            return Err(EnvelopeError::Empty(field));
        }
        no_control_character(field, &text)?;
        Ok(text)
    }

    fn of_signature(&self, field: Field) -> Result<Cow<'a, str>, EnvelopeError> {
        self.optional(field)?
            .filter(|text| !text.is_empty())
            .ok_or(EnvelopeError::Unsigned(field))
    }
}

fn no_control_character(field: Field, text: &str) -> Result<(), EnvelopeError> {
    // Without an early end, so that many bytes are looked at at once.
    let plain = |byte: u8| matches!(byte, b' '..=b'~');
    if text.bytes().fold(true, |all, byte| all & plain(byte)) {
        return Ok(());
    }
    // U+2028 and U+2029 end a line for some readers, too.
    if text
        .chars()
        .any(|character| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}'))
    {
        return Err(EnvelopeError::ControlCharacter(field));
    }
    Ok(())
}

/// `2026-03-06T20:00:26.893Z` and nothing that merely resembles it.
fn parse_timestamp(text: &str) -> Result<Timestamp, EnvelopeError> {
    let (seconds, fraction) = text
        .strip_suffix('Z')
        .and_then(|text| text.split_at_checked("2026-03-06T20:00:26".len()))
        .ok_or(EnvelopeError::Timestamp)?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let shape = seconds.bytes().map(|byte| match byte {
        b'0'..=b'9' => b'0',
        other => other,
    });
    let shaped = shape.eq(*b"0000-00-00T00:00:00")
        && (fraction.is_empty() || fraction.strip_prefix('.').is_some_and(digits));
    if !shaped {
        return Err(EnvelopeError::Timestamp);
    }
    text.parse().map_err(|_| EnvelopeError::Timestamp)
}
