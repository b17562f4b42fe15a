//! `email`: sends one message by SMTP.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::Failure,
    expression::{Scope, Template},
    limits,
    workflow::{EmailStep, SmtpServer},
};

use super::{Begin, Behaviour, expression_failure, not_of_its_kind, text_len};
use crate::{
    RECORD_MAX_BYTES, codes,
    decision::{AttemptFailure, EffectKind, Outcome},
    email::{EmailMessage, EmailReceipt, RefusedRecipient, SmtpAccess},
};

/// Longest header, in bytes: what may stand before it is folded, several times over.
const HEADER_MAX_BYTES: usize = 8 * 1024;

impl Behaviour for EmailStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let message = message(self, scope)?;
        let count = message.to.len() + message.cc.len() + message.bcc.len();
        if count == 0 {
            return Err(invalid("it has no recipient"));
        }
        // Each text holds an address at least; who reads them counts those that commas separate.
        let max = limits::EMAIL_RECIPIENTS_MAX;
        if count > max {
            return Err(invalid(&format!(
                "it has {count} recipients or more; at most {max} are allowed"
            )));
        }
        let input = input(&message);
        if text_len(&input) > RECORD_MAX_BYTES {
            return Err(invalid("it is too large to be recorded"));
        }
        Ok(Begin::Attempt {
            input,
            effect: EffectKind::Email(Box::new(message)),
        })
    }

    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Email(receipt) => Ok(output(receipt)),
            Outcome::Http(_) | Outcome::Script(_) | Outcome::Child(_) => Err(not_of_its_kind()),
        }
    }
}

fn invalid(what: &str) -> Failure {
    Failure::new(
        codes::INVALID_REQUEST,
        format!("the message cannot be sent: {what}"),
    )
}

fn message(step: &EmailStep, scope: &Scope) -> Result<EmailMessage, Failure> {
    let body = |template: &Option<Template>| {
        let text = template.as_ref().map(|template| text(template, scope));
        text.transpose()
    };
    let headers = step.headers.iter().map(|(name, template)| {
        let value = line(name, &text(template, scope)?)?;
        Ok((name.clone(), value))
    });
    Ok(EmailMessage {
        server: server(&step.server, scope)?,
        from: line("from", &text(&step.from, scope)?)?,
        to: addresses("to", &step.to, scope)?,
        cc: addresses("cc", &step.cc, scope)?,
        bcc: addresses("bcc", &step.bcc, scope)?,
        reply_to: addresses("replyTo", &step.reply_to, scope)?,
        subject: line("subject", &text(&step.subject, scope)?)?,
        text: body(&step.text)?,
        html: body(&step.html)?,
        headers: headers.collect::<Result<_, Failure>>()?,
    })
}

fn text(template: &Template, scope: &Scope) -> Result<String, Failure> {
    let text = template.render_text(scope);
    text.map_err(|error| expression_failure(&error))
}

/// What becomes a header, or a part of one: a line's end in it would begin another.
fn line(name: &str, text: &str) -> Result<String, Failure> {
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(invalid(&format!("its {name} holds control characters")));
    }
    if text.len() > HEADER_MAX_BYTES {
        return Err(invalid(&format!(
            "its {name} has more than {HEADER_MAX_BYTES} bytes"
        )));
    }
    Ok(text.trim().to_owned())
}

fn addresses(name: &str, templates: &[Template], scope: &Scope) -> Result<Vec<String>, Failure> {
    let mut all = Vec::new();
    let mut add = |text: &str| {
        let text = line(name, text)?;
        all.extend((!text.is_empty()).then_some(text));
        Ok(())
    };
    let wrong = || {
        invalid(&format!(
            "its {name} gives neither an address nor a list of them"
        ))
    };
    for template in templates {
        match template
            .render(scope)
            .map_err(|error| expression_failure(&error))?
        {
            Value::Null => {}
            Value::String(text) => add(&text)?,
            Value::Array(values) => {
                for value in values {
                    add(value.as_str().ok_or_else(wrong)?)?;
                }
            }
            _ => return Err(wrong()),
        }
    }
    Ok(all)
}

fn server(server: &SmtpServer, scope: &Scope) -> Result<SmtpAccess, Failure> {
    let host = line("server's host", &text(&server.host, scope)?)?;
    let login = server
        .login
        .as_ref()
        .map(|login| Ok((text(&login.username, scope)?, text(&login.password, scope)?)));
    let certificate = server.ca_certificate.as_ref();
    let certificate = certificate.map(|template| text(template, scope));
    Ok(SmtpAccess {
        host,
        port: server.port.unwrap_or(server.tls.default_port()),
        tls: server.tls,
        login: login.transpose()?,
        ca_certificate: certificate.transpose()?,
    })
}

/// What is recorded: all but who logs in.
fn input(message: &EmailMessage) -> Value {
    let SmtpAccess {
        host, port, tls, ..
    } = &message.server;
    let headers: serde_json::Map<_, _> = message
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    json!({
        "server": {"host": host, "port": port, "tls": tls.as_str()},
        "from": message.from,
        "to": message.to,
        "cc": message.cc,
        "bcc": message.bcc,
        "replyTo": message.reply_to,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "headers": headers,
    })
}

fn output(receipt: EmailReceipt) -> Value {
    let refused = |refused: RefusedRecipient| {
        let RefusedRecipient {
            address,
            code,
            message,
        } = refused;
        json!({"address": address, "code": code, "message": message})
    };
    let refused: Vec<Value> = receipt.refused.into_iter().map(refused).collect();
    json!({
        "messageId": receipt.message_id,
        "accepted": receipt.accepted,
        "refused": refused,
        "reply": receipt.reply,
    })
}

#[cfg(test)]
mod tests;
