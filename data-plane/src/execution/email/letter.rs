//! Messages as RFC 5322 writes them.

use std::time::SystemTime;

use jiff::Timestamp;
use lettre::{
    Message,
    message::{
        Mailbox, Mailboxes, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use signalbox_engine::EmailMessage;
use signalbox_model::limits;

/// The message. Its Message-ID is made of the idempotency key: repeats are recognised by it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn write(
    message: &EmailMessage,
    idempotency_key: &str,
    now: Timestamp,
) -> Result<Message, String> {
    let from: Mailbox = message
        .from
        .parse()
        .map_err(|_| no_address("from", &message.from))?;
    let id = format!("<{idempotency_key}@{}>", from.email.domain());
    let date = SystemTime::try_from(now).map_err(|error| error.to_string())?;
    let mut builder = Message::builder()
        .from(from)
        .date(date)
        .message_id(Some(id))
        .subject(message.subject.as_str());
    // Together: each is a command to the server, and a copy.
    let mut recipients = Places(limits::EMAIL_RECIPIENTS_MAX);
    for mailbox in recipients.mailboxes("to", &message.to)? {
        builder = builder.to(mailbox);
    }
    for mailbox in recipients.mailboxes("cc", &message.cc)? {
        builder = builder.cc(mailbox);
    }
    for mailbox in recipients.mailboxes("bcc", &message.bcc)? {
        builder = builder.bcc(mailbox);
    }
    let mut answered = Places(limits::EMAIL_RECIPIENTS_MAX);
    for mailbox in answered.mailboxes("replyTo", &message.reply_to)? {
        builder = builder.reply_to(mailbox);
    }
    for (name, value) in &message.headers {
        let known = HeaderName::new_from_ascii(name.clone());
        let known = known.map_err(|_| format!("{name:?} is not the name of a header"))?;
        builder = builder.raw_header(HeaderValue::new(known, value.clone()));
    }
    let (text, html) = (message.text.clone(), message.html.clone());
    let built = match (text, html) {
        (Some(text), Some(html)) => {
            builder.multipart(MultiPart::alternative_plain_html(text, html))
        }
        (None, Some(html)) => builder.singlepart(SinglePart::html(html)),
        (text, None) => builder.singlepart(SinglePart::plain(text.unwrap_or_default())),
    };
    built.map_err(|error| error.to_string())
}

/// The Message-ID that `letter` has.
pub(super) fn message_id(letter: &Message) -> String {
    let id = letter.headers().get_raw("Message-ID");
    id.unwrap_or_default().to_owned()
}

/// How many addresses there may still be.
struct Places(usize);

impl Places {
    /// Each text may be several addresses, separated by commas.
    fn mailboxes(&mut self, name: &str, texts: &[String]) -> Result<Vec<Mailbox>, String> {
        let mut all = Vec::new();
        for text in texts {
            let parsed: Mailboxes = text.parse().map_err(|_| no_address(name, text))?;
            for mailbox in parsed {
                self.0 = self.0.checked_sub(1).ok_or_else(|| too_many(name))?;
                all.push(mailbox);
            }
        }
        Ok(all)
    }
}

fn too_many(name: &str) -> String {
    let max = limits::EMAIL_RECIPIENTS_MAX;
    match name {
        "replyTo" => format!("its replyTo has more than {max} addresses"),
        _ => format!("its to, cc and bcc have more than {max} recipients together"),
    }
}

fn no_address(name: &str, text: &str) -> String {
    let quoted: String = text.chars().take(128).collect();
    format!(
        "its {name}: {quoted:?} is no address, such as ops@example.com or Ops <ops@example.com>"
    )
}
