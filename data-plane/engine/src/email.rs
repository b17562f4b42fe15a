//! Messages for the `email` step.

use std::fmt;

use signalbox_model::{secret::Masks, workflow::SmtpTls};

/// A message to be sent, all expressions evaluated. No field that becomes a header holds control characters. `Debug` shows
/// neither what it says nor to whom.
#[derive(Clone, PartialEq, Eq)]
pub struct EmailMessage {
    /// What takes it.
    pub server: SmtpAccess,
    /// The one sender: `address` or `Name <address>`.
    pub from: String,
    /// Recipients.
    pub to: Vec<String>,
    /// Those who get a copy.
    pub cc: Vec<String>,
    /// Those whom the message does not show.
    pub bcc: Vec<String>,
    /// Where answers go.
    pub reply_to: Vec<String>,
    /// Subject.
    pub subject: String,
    /// As text. There is at least one of this and `html`.
    pub text: Option<String>,
    /// As HTML.
    pub html: Option<String>,
    /// More headers.
    pub headers: Vec<(String, String)>,
}

/// A server, and who sends. `Debug` shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpAccess {
    /// Its name, or its address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// User and password.
    pub login: Option<(String, String)>,
    /// Certificates in PEM that are trusted beside the public ones.
    pub ca_certificate: Option<String>,
}

/// What a server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailReceipt {
    /// `Message-ID`, with its angle brackets.
    pub message_id: String,
    /// Those to whom the server will deliver.
    pub accepted: Vec<String>,
    /// Those to whom it will not.
    pub refused: Vec<RefusedRecipient>,
    /// The server's reply to the message.
    pub reply: String,
}

/// A recipient whom the server refused while it took others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRecipient {
    /// Address.
    pub address: String,
    /// Code of the reply.
    pub code: u16,
    /// Its text.
    pub message: String,
}

impl RefusedRecipient {
    /// The same without what `masks` searches for.
    pub(crate) fn masked(self, masks: &Masks) -> Self {
        Self {
            message: masks.text(&self.message).unwrap_or(self.message),
            ..self
        }
    }
}

impl fmt::Debug for EmailMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmailMessage")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SmtpAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpAccess")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}
