//! `email`: sends one message by SMTP.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{
    expression::{Expression, Template},
    suggestion::suggestion,
    workflow::steps::at,
};

/// Sends one message by SMTP.
#[derive(Clone, Debug)]
pub struct EmailStep {
    /// What takes the message.
    pub server: SmtpServer,
    /// The one sender.
    pub from: Template,
    /// Recipients. Each gives an address, or a list of addresses.
    pub to: Vec<Template>,
    /// The same, of those who get a copy.
    pub cc: Vec<Template>,
    /// The same, of those whom the message does not show.
    pub bcc: Vec<Template>,
    /// Where answers go.
    pub reply_to: Vec<Template>,
    /// Subject.
    pub subject: Template,
    /// The text, for those who show no HTML.
    pub text: Option<Template>,
    /// The same as HTML.
    pub html: Option<Template>,
    /// More headers.
    pub headers: BTreeMap<String, Template>,
}

/// A server and how it is spoken to.
#[derive(Clone, Debug)]
pub struct SmtpServer {
    /// Its name, or its address.
    pub host: Template,
    /// Port; without one, that of the kind of encryption.
    pub port: Option<u16>,
    /// How the connection is encrypted.
    pub tls: SmtpTls,
    /// User and password.
    pub login: Option<SmtpLogin>,
    /// Certificates in PEM that are trusted beside the public ones.
    pub ca_certificate: Option<Template>,
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct SmtpLogin {
    /// User.
    pub username: Template,
    /// Password.
    pub password: Template,
}

/// How an SMTP connection is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SmtpTls {
    /// By STARTTLS (RFC 3207), always: a server that does not offer it gets nothing.
    #[default]
    StartTls,
    /// From the first byte on (RFC 8314).
    Implicit,
    /// Not at all.
    None,
}

impl SmtpTls {
    const ALL: [Self; 3] = [Self::StartTls, Self::Implicit, Self::None];

    /// The port that is customary.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Implicit => 465,
            Self::None => 25,
        }
    }

    /// As definitions write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartTls => "starttls",
            Self::Implicit => "implicit",
            Self::None => "none",
        }
    }
}

impl fmt::Display for SmtpTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no [`SmtpTls`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no kind of encryption: expected starttls, implicit or none{hint}",
    hint = suggestion(.0, SmtpTls::ALL.map(SmtpTls::as_str))
)]
pub struct SmtpTlsError(String);

impl FromStr for SmtpTls {
    type Err = SmtpTlsError;
    fn from_str(text: &str) -> Result<Self, SmtpTlsError> {
        Self::ALL
            .into_iter()
            .find(|tls| tls.as_str() == text)
            .ok_or_else(|| SmtpTlsError(text.chars().take(32).collect()))
    }
}

impl EmailStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        let mut all = at("email.server.host", self.server.host.expressions());
        if let Some(login) = &self.server.login {
            all.extend(at("email.server.username", login.username.expressions()));
            all.extend(at("email.server.password", login.password.expressions()));
        }
        if let Some(certificate) = &self.server.ca_certificate {
            all.extend(at("email.server.caCertificate", certificate.expressions()));
        }
        all.extend(at("email.from", self.from.expressions()));
        for (name, list) in [
            ("to", &self.to),
            ("cc", &self.cc),
            ("bcc", &self.bcc),
            ("replyTo", &self.reply_to),
        ] {
            for (index, template) in list.iter().enumerate() {
                all.extend(at(
                    &format!("email.{name}[{index}]"),
                    template.expressions(),
                ));
            }
        }
        all.extend(at("email.subject", self.subject.expressions()));
        for (path, template) in [("email.text", &self.text), ("email.html", &self.html)] {
            all.extend(at(path, template.iter().flat_map(Template::expressions)));
        }
        for (name, value) in &self.headers {
            all.extend(at(&format!("email.headers.{name}"), value.expressions()));
        }
        all
    }
}
