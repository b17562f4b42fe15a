//! The `email` step.

use std::collections::BTreeSet;

use signalbox_model::{
    expression::Template,
    limits,
    violation::Collector,
    workflow::{EmailStep, SmtpLogin, SmtpServer, SmtpTls},
};

use super::{
    aws::{optional, required},
    http::{certificate, templates},
};
use crate::v1;

pub(super) fn email_step(
    path: &str,
    step: &v1::EmailStep,
    problems: &mut Collector,
) -> Option<EmailStep> {
    let v1::EmailStep {
        server,
        from,
        to,
        cc,
        bcc,
        reply_to,
        subject,
        text,
        html,
        headers,
    } = step;
    let server = match server {
        Some(server) => server_of(&format!("{path}.server"), server, problems),
        None => {
            problems.add(format!("{path}.server"), "is missing");
            None
        }
    };
    let from = line(&format!("{path}.from"), from, problems);
    if let Some(text) = from.as_ref().and_then(Template::as_literal) {
        address(&format!("{path}.from"), text, problems);
    }
    let recipients = [to, cc, bcc].map(Vec::len).iter().sum::<usize>();
    if recipients == 0 {
        problems.add(
            format!("{path}.to"),
            "names no recipient, nor do cc and bcc",
        );
    } else if recipients > limits::EMAIL_RECIPIENTS_MAX {
        let max = limits::EMAIL_RECIPIENTS_MAX;
        problems.add(
            format!("{path}.to"),
            format!("at most {max} recipients are allowed"),
        );
    }
    let to = addresses(&format!("{path}.to"), to, problems);
    let cc = addresses(&format!("{path}.cc"), cc, problems);
    let bcc = addresses(&format!("{path}.bcc"), bcc, problems);
    let reply_to = addresses(&format!("{path}.replyTo"), reply_to, problems);
    let subject = line(&format!("{path}.subject"), subject, problems);
    if text.is_empty() && html.is_empty() {
        problems.add(path, "says nothing: expected text, html or both");
    }
    let text = optional(&format!("{path}.text"), text, problems);
    let html = optional(&format!("{path}.html"), html, problems);
    for (name, value) in headers {
        header(&format!("{path}.headers.{name}"), name, value, problems);
    }
    let mut seen = BTreeSet::new();
    for name in headers.keys() {
        if !seen.insert(name.to_ascii_lowercase()) {
            let text = "is there twice: header names know no case";
            problems.add(format!("{path}.headers.{name}"), text);
        }
    }
    let headers = templates(&format!("{path}.headers"), headers, problems);
    Some(EmailStep {
        server: server?,
        from: from?,
        to: to?,
        cc: cc?,
        bcc: bcc?,
        reply_to: reply_to?,
        subject: subject?,
        text: text?,
        html: html?,
        headers: headers?,
    })
}

fn server_of(path: &str, server: &v1::SmtpServer, problems: &mut Collector) -> Option<SmtpServer> {
    let v1::SmtpServer {
        host,
        port,
        tls,
        username,
        password,
        ca_certificate,
    } = server;
    let field = format!("{path}.host");
    let host = required(&field, host, problems);
    if let Some(text) = host.as_ref().and_then(Template::as_literal)
        && (text.contains("://") || text.contains(['/', '@', ' ']))
    {
        problems.add(field, format!("{text:?} is no host's name or address"));
    }
    let port = match u16::try_from(*port) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => {
            problems.add(
                format!("{path}.port"),
                format!("is {port}; expected 1 to 65535"),
            );
            None
        }
    };
    let tls = if tls.is_empty() {
        Some(SmtpTls::default())
    } else {
        problems.check(format!("{path}.tls"), tls.parse())
    };
    if username.is_empty() != password.is_empty() {
        let text = "username and password belong together: one of them is missing";
        problems.add(path, text);
    }
    if tls == Some(SmtpTls::None) && !password.is_empty() {
        let text = "would be sent in the open: expected tls starttls or implicit";
        problems.add(format!("{path}.password"), text);
    }
    let username = optional(&format!("{path}.username"), username, problems);
    let password = optional(&format!("{path}.password"), password, problems);
    let field = format!("{path}.caCertificate");
    let ca_certificate = if ca_certificate.is_empty() {
        Some(None)
    } else {
        certificate::template(&field, ca_certificate, problems).map(Some)
    };
    Some(SmtpServer {
        host: host?,
        port,
        tls: tls?,
        login: match (username?, password?) {
            (Some(username), Some(password)) => Some(SmtpLogin { username, password }),
            _ => None,
        },
        ca_certificate: ca_certificate?,
    })
}

/// What becomes a header.
fn line(field: &str, text: &str, problems: &mut Collector) -> Option<Template> {
    // YAML's block scalars end in one.
    let text = text.trim_end_matches('\n');
    if text.chars().any(|c| c.is_control() && c != '\t') {
        problems.add(field, "must be one line, without control characters");
        return None;
    }
    required(field, text, problems)
}

fn addresses(path: &str, texts: &[String], problems: &mut Collector) -> Option<Vec<Template>> {
    let mut all = Vec::new();
    let mut whole = true;
    for (index, text) in texts.iter().enumerate() {
        let field = format!("{path}[{index}]");
        let template = line(&field, text, problems);
        if let Some(text) = template.as_ref().and_then(Template::as_literal) {
            address(&field, text, problems);
        }
        whole &= template.is_some();
        all.extend(template);
    }
    whole.then_some(all)
}

/// As far as it is worth saying now; the rest is checked when the message is made.
fn address(field: &str, text: &str, problems: &mut Collector) {
    if !text.contains('@') {
        problems.add(
            field,
            format!("{text:?} is no address, such as ops@example.com"),
        );
    }
}

fn header(field: &str, name: &str, value: &str, problems: &mut Collector) {
    /// Set by other fields, by what the message is, or by who carries it.
    const RESERVED: [&str; 14] = [
        "bcc",
        "cc",
        "content-transfer-encoding",
        "content-type",
        "date",
        "from",
        "message-id",
        "mime-version",
        "received",
        "reply-to",
        "return-path",
        "sender",
        "subject",
        "to",
    ];
    // RFC 5322 §3.6.8, and the line that it must fit.
    let is_name =
        (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    if !is_name {
        let text = format!("{name:?} is not a header name (RFC 5322 §3.6.8)");
        problems.add(field, text);
    } else if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        problems.add(field, format!("{name:?} is set by Signalbox itself"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        problems.add(field, "must be one line, without control characters");
    }
}
