//! Performs `email` effects: SMTP by lettre, one connection for each message.

mod letter;

use std::{error::Error as _, sync::Arc, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use lettre::{
    Address, Message,
    transport::smtp::{
        Error,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
        response::Response,
    },
};
use signalbox_engine::{
    AttemptFailure, Effect, EffectKind, EmailMessage, EmailReceipt, Outcome, RefusedRecipient,
    SmtpAccess, codes,
};
use signalbox_model::workflow::SmtpTls;
use signalbox_runtime::ambient::Ambient;

use super::{Performer, drive};
use crate::egress::{Egress, ResolveError};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take to say goodbye, when it has the message.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);
/// Ways to log in, the first that the server knows. All are within TLS.
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];
/// Longest text of a server that is kept, in characters.
const REPLY_MAX_CHARS: usize = 512;

/// Sends messages through [`Egress`].
#[derive(Clone, Debug)]
pub struct EmailPerformer {
    egress: Egress,
    ambient: Arc<dyn Ambient>,
}

impl EmailPerformer {
    /// Through `egress`.
    #[must_use]
    pub fn new(egress: Egress, ambient: Arc<dyn Ambient>) -> Self {
        Self { egress, ambient }
    }

    async fn send(
        self,
        message: EmailMessage,
        idempotency_key: String,
    ) -> Result<EmailReceipt, AttemptFailure> {
        let letter = letter::write(&message, &idempotency_key, self.ambient.now())
            .map_err(|what| invalid(&what))?;
        let mut connection = self.connect(&message.server).await?;
        let given = give(&mut connection, &letter).await?;
        // It is sent, whatever becomes of the connection.
        tokio::spawn(async move {
            let _ = tokio::time::timeout(QUIT_TIMEOUT, connection.quit()).await;
        });
        let Given {
            accepted,
            refused,
            reply,
        } = given;
        Ok(EmailReceipt {
            message_id: letter::message_id(&letter),
            accepted,
            refused,
            reply,
        })
    }

    /// A connection that is encrypted and logged in as the step says.
    async fn connect(&self, server: &SmtpAccess) -> Result<AsyncSmtpConnection, AttemptFailure> {
        let addresses = self.egress.resolve(&server.host, server.port).await;
        let addresses = addresses.map_err(|error| match error {
            ResolveError::Denied(_) => {
                AttemptFailure::lasting(codes::EGRESS_BLOCKED, error.to_string())
            }
            ResolveError::Lookup(_) => {
                AttemptFailure::retriable(codes::CONNECTION, error.to_string())
            }
        })?;
        let tls = match server.tls {
            SmtpTls::None => None,
            SmtpTls::StartTls | SmtpTls::Implicit => Some(tls(server)?),
        };
        let hello = ClientId::default();
        let implicit = tls.clone().filter(|_| server.tls == SmtpTls::Implicit);
        // To an address that the policy allows; the certificate is to be of the name.
        let mut connection = AsyncSmtpConnection::connect_tokio1(
            &addresses[..],
            Some(CONNECT_TIMEOUT),
            &hello,
            implicit,
            None,
        )
        .await
        .map_err(|error| explain(&error))?;
        if let (SmtpTls::StartTls, Some(tls)) = (server.tls, tls) {
            let encrypted = connection.starttls(tls, &hello).await;
            encrypted.map_err(|error| explain(&error))?;
        }
        if let Some((username, password)) = &server.login {
            let credentials = Credentials::new(username.clone(), password.clone());
            let logged_in = connection.auth(&MECHANISMS, &credentials).await;
            logged_in.map_err(|error| {
                let mut failed = explain(&error);
                let text = format!("cannot log in: {}", failed.failure.message);
                failed.failure.message = text;
                failed
            })?;
        }
        Ok(connection)
    }
}

impl Performer for EmailPerformer {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
        let this = self.clone();
        async move {
            let EffectKind::Email(message) = effect.kind else {
                return Outcome::Failed(invalid("it is no message"));
            };
            let sent = this.send(*message, effect.idempotency_key);
            match tokio::time::timeout(effect.timeout, sent).await {
                Ok(Ok(receipt)) => Outcome::Email(receipt),
                Ok(Err(failure)) => Outcome::Failed(failure),
                Err(_) => Outcome::Failed(drive::timed_out(effect.timeout)),
            }
        }
        .boxed()
    }
}

fn tls(server: &SmtpAccess) -> Result<TlsParameters, AttemptFailure> {
    let name = server.host.trim_start_matches('[').trim_end_matches(']');
    let mut builder =
        TlsParameters::builder(name.to_owned()).certificate_store(CertificateStore::WebpkiRoots);
    if let Some(pem) = &server.ca_certificate {
        let certificate = Certificate::from_pem(pem.as_bytes());
        let certificate = certificate.map_err(|_| invalid("its caCertificate is no PEM"))?;
        builder = builder.add_root_certificate(certificate);
    }
    let built = builder.build();
    built.map_err(|_| invalid("its caCertificate holds no certificate of an authority"))
}

/// What a server made of a message.
struct Given {
    accepted: Vec<String>,
    refused: Vec<RefusedRecipient>,
    reply: String,
}

/// Gives the message to the server, for those recipients whom it takes.
async fn give(
    connection: &mut AsyncSmtpConnection,
    letter: &Message,
) -> Result<Given, AttemptFailure> {
    let bytes = letter.formatted();
    let mail = mail(connection, letter, &bytes)?;
    connection
        .command(mail)
        .await
        .map_err(|error| explain(&error))?;
    let mut accepted = Vec::new();
    let mut refused = Vec::new();
    for recipient in letter.envelope().to() {
        let address = AsRef::<str>::as_ref(recipient).to_owned();
        match recipient_is_taken(connection, recipient).await? {
            None => accepted.push(address),
            Some((code, message)) => refused.push(RefusedRecipient {
                address,
                code,
                message,
            }),
        }
    }
    if accepted.is_empty() {
        return Err(all_refused(&refused));
    }
    connection
        .command(Data)
        .await
        .map_err(|error| explain(&error))?;
    let reply = connection
        .message(&bytes)
        .await
        .map_err(|error| explain(&error))?;
    Ok(Given {
        accepted,
        refused,
        reply: text_of(&reply),
    })
}

fn mail(
    connection: &AsyncSmtpConnection,
    letter: &Message,
    bytes: &[u8],
) -> Result<Mail, AttemptFailure> {
    let mut options = Vec::new();
    let knows = |extension| connection.server_info().supports_feature(extension);
    let envelope = letter.envelope();
    let mut addresses = envelope.from().into_iter().chain(envelope.to());
    if !addresses.all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !knows(Extension::SmtpUtfEight) {
            let text = "the server takes no addresses beyond ASCII (SMTPUTF8)";
            return Err(AttemptFailure::lasting(codes::SMTP_ERROR, text));
        }
        options.push(MailParameter::SmtpUtfEight);
    }
    if !bytes.is_ascii() {
        if !knows(Extension::EightBitMime) {
            let text = "the server takes no message beyond ASCII (8BITMIME)";
            return Err(AttemptFailure::lasting(codes::SMTP_ERROR, text));
        }
        options.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    Ok(Mail::new(letter.envelope().from().cloned(), options))
}

/// [`None`] when the server takes the recipient, else code and text of its reply.
async fn recipient_is_taken(
    connection: &mut AsyncSmtpConnection,
    recipient: &Address,
) -> Result<Option<(u16, String)>, AttemptFailure> {
    let command = Rcpt::new(recipient.clone(), Vec::new());
    match connection.command(command).await {
        Ok(_) => Ok(None),
        Err(error) => match error.status() {
            Some(code) => Ok(Some((code.into(), text_of_error(&error)))),
            None => Err(explain(&error)),
        },
    }
}

fn all_refused(refused: &[RefusedRecipient]) -> AttemptFailure {
    let each: Vec<_> = refused
        .iter()
        .map(|refused| format!("{} {} ({})", refused.code, refused.message, refused.address))
        .collect();
    let text: String = each.join("; ").chars().take(2 * REPLY_MAX_CHARS).collect();
    let mut failed = AttemptFailure::lasting(codes::SMTP_ERROR, text);
    failed.status = refused.first().map(|refused| refused.code);
    failed.retriable = refused.iter().any(|refused| refused.code < 500);
    failed
}

fn explain(error: &Error) -> AttemptFailure {
    let text = text_of_error(error);
    if let Some(code) = error.status() {
        let code = u16::from(code);
        let mut failed = AttemptFailure::lasting(codes::SMTP_ERROR, format!("{code} {text}"));
        failed.status = Some(code);
        failed.retriable = error.is_transient();
        failed
    } else if error.is_client() {
        // It offers not what the step demands.
        AttemptFailure::lasting(codes::SMTP_ERROR, text)
    } else {
        AttemptFailure::retriable(codes::CONNECTION, text)
    }
}

fn text_of_error(error: &Error) -> String {
    let text = error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string);
    one_line(&text)
}

fn text_of(reply: &Response) -> String {
    let lines: Vec<&str> = reply.message().collect();
    one_line(&format!("{} {}", u16::from(reply.code()), lines.join(" ")))
}

fn one_line(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(REPLY_MAX_CHARS).collect()
}

fn invalid(what: &str) -> AttemptFailure {
    AttemptFailure::lasting(
        codes::INVALID_REQUEST,
        format!("the message cannot be sent: {what}"),
    )
}

#[cfg(test)]
mod tests;
