//! `signalbox sns`.

use std::{collections::BTreeMap, time::Duration};

use futures::stream::{self, StreamExt as _};
use signalbox_sns::{MessageAttribute, MessageAttributes};

use super::read_text;
use crate::{
    CliError, Output,
    args::{MessageKind, PublishArgs, SnsCommand},
    simulator::{Delivered, Post, Publication, SimulatedSns},
};

/// How long a confirmation is waited for.
const CONFIRM_LIMIT: Duration = Duration::from_secs(15);

pub(crate) async fn run(command: SnsCommand, output: &Output) -> Result<(), CliError> {
    let SnsCommand::Publish(arguments) = command;
    publish(*arguments, output).await
}

async fn publish(arguments: PublishArgs, output: &Output) -> Result<(), CliError> {
    url::Url::parse(&arguments.endpoint)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        // What was given may hold a key, so it is not repeated.
        .ok_or_else(|| CliError::Usage("--endpoint: expected http://… or https://…".to_owned()))?;
    let publication = publication(&arguments)?;
    let sns = SimulatedSns::start(arguments.serve)
        .await
        .map_err(CliError::start)?;
    output.line(&format!(
        "playing Amazon SNS at {origin}; the receiver must be started with --sns-trusted-origin {origin}",
        origin = sns.origin()
    ))?;
    let count = arguments.count.get();
    let mut sending = stream::iter(0..count)
        .map(|number| send(&sns, &arguments, &publication, number))
        .buffer_unordered(arguments.concurrency.into());
    let (mut sent, mut refused) = (0_u64, 0_u64);
    while let Some(answers) = sending.next().await {
        let (post, answers) = answers?;
        for delivered in &answers {
            output.raw(&format!("{}\n", line(&post, delivered, output)))?;
            sent += 1;
            refused += u64::from(!delivered.is_success());
        }
    }
    drop(sending);
    if refused > 0 {
        return Err(CliError::Failed(format!(
            "{refused} of {sent} deliveries were refused"
        )));
    }
    if arguments.kind == MessageKind::Confirmation {
        if !sns
            .wait_confirmed(&arguments.topic_arn, CONFIRM_LIMIT)
            .await
        {
            return Err(CliError::Failed(format!(
                "the confirmation was accepted, but nobody confirmed within {CONFIRM_LIMIT:?}; does the receiver trust {}?",
                sns.origin()
            )));
        }
        output.line("confirmed")?;
    }
    Ok(())
}

fn publication(arguments: &PublishArgs) -> Result<Publication, CliError> {
    let message = match &arguments.message_file {
        Some(path) => read_text(path)?,
        None => arguments.message.clone(),
    };
    Ok(Publication {
        message,
        subject: arguments.subject.clone(),
        attributes: parse_attributes(&arguments.attributes)?,
        signature_version: arguments.signature_version,
        message_id: None,
    })
}

/// Sends message `number`, as often as was asked for.
async fn send(
    sns: &SimulatedSns,
    arguments: &PublishArgs,
    publication: &Publication,
    number: u32,
) -> Result<(Post, Vec<Delivered>), CliError> {
    let (topic, version) = (&arguments.topic_arn, arguments.signature_version);
    let spoil = arguments.bad_signature;
    let publication = Publication {
        message_id: arguments.message_id.clone().filter(|_| number == 0),
        ..publication.clone()
    };
    let post = match arguments.kind {
        MessageKind::Notification => sns.notification(topic, &publication, spoil),
        MessageKind::Raw => sns.raw(topic, &publication),
        MessageKind::Confirmation => sns.confirmation(topic, version, spoil),
        MessageKind::Unsubscribe => sns.unsubscription(topic, version, spoil),
    }
    .map_err(CliError::start)?;
    let mut answers = Vec::new();
    for _ in 0..arguments.duplicate.get() {
        answers.push(if arguments.retry {
            sns.deliver(&arguments.endpoint, &post).await.0
        } else {
            sns.attempt(&arguments.endpoint, &post).await
        });
    }
    Ok((post, answers))
}

fn line(post: &Post, delivered: &Delivered, output: &Output) -> String {
    let id = &post.message_id;
    match (delivered, output.is_json()) {
        (Delivered::Answered { status, body }, true) => {
            serde_json::json!({"messageId": id, "status": status, "body": body}).to_string()
        }
        (Delivered::Failed(why), true) => {
            serde_json::json!({"messageId": id, "error": why}).to_string()
        }
        (Delivered::Answered { status, body }, false) => format!("{id}  {status}  {body}"),
        (Delivered::Failed(why), false) => format!("{id}  failed  {why}"),
    }
}

/// `name=value` is a String; `name:Type=value` says its type.
fn parse_attributes(texts: &[String]) -> Result<MessageAttributes, CliError> {
    let wrong = |text: &str| {
        CliError::Usage(format!(
            "--attribute {text:?}: expected name=value or name:Type=value"
        ))
    };
    let mut all = BTreeMap::new();
    for text in texts {
        let (name, value) = text.split_once('=').ok_or_else(|| wrong(text))?;
        let (name, data_type) = name.split_once(':').unwrap_or((name, "String"));
        if name.is_empty() || data_type.is_empty() {
            return Err(wrong(text));
        }
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            value: value.to_owned(),
        };
        all.insert(name.to_owned(), attribute);
    }
    Ok(MessageAttributes::from(all))
}
