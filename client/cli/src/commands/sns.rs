//! `signalbox sns`.

use std::{collections::BTreeMap, time::Duration};

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
    let message = match &arguments.message_file {
        Some(path) => read_text(path)?,
        None => arguments.message.clone(),
    };
    let attributes = parse_attributes(&arguments.attributes)?;
    let sns = SimulatedSns::start(arguments.serve)
        .await
        .map_err(|error| CliError::Start(Box::new(error)))?;
    output.line(&format!(
        "playing Amazon SNS at {origin}; the receiver must be started with --sns-trusted-origin {origin}",
        origin = sns.origin()
    ))?;
    let mut refused = 0;
    for number in 0..arguments.count {
        let publication = Publication {
            message: message.clone(),
            subject: arguments.subject.clone(),
            attributes: attributes.clone(),
            signature_version: arguments.signature_version,
            message_id: arguments.message_id.clone().filter(|_| number == 0),
        };
        let topic = &arguments.topic_arn;
        let post = match arguments.kind {
            MessageKind::Notification => {
                sns.notification(topic, &publication, arguments.bad_signature)
            }
            MessageKind::Raw => sns.raw(topic, &publication),
            MessageKind::Confirmation => {
                sns.confirmation(topic, arguments.signature_version, arguments.bad_signature)
            }
            MessageKind::Unsubscribe => {
                sns.unsubscribe(topic, arguments.signature_version, arguments.bad_signature)
            }
        }
        .map_err(|error| CliError::Start(Box::new(error)))?;
        for _ in 0..arguments.duplicate {
            let delivered = sns.attempt(&arguments.endpoint, &post).await;
            output.raw(&format!("{}\n", line(&post, &delivered)))?;
            if !delivered.is_success() {
                refused += 1;
            }
        }
        if arguments.kind == MessageKind::Confirmation && refused == 0 {
            if !sns.wait_confirmed(topic, CONFIRM_LIMIT).await {
                return Err(CliError::Failed(format!(
                    "the confirmation was accepted, but nobody confirmed within {CONFIRM_LIMIT:?}"
                )));
            }
            output.line("confirmed")?;
        }
    }
    if refused > 0 {
        return Err(CliError::Failed(format!(
            "{refused} deliveries were refused"
        )));
    }
    Ok(())
}

fn line(post: &Post, delivered: &Delivered) -> String {
    match delivered {
        Delivered::Answered { status, body } => format!("{}  {status}  {body}", post.message_id),
        Delivered::Failed(why) => format!("{}  failed  {why}", post.message_id),
    }
}

/// `name=value` is a String; `name:Type=value` says its type.
fn parse_attributes(texts: &[String]) -> Result<MessageAttributes, CliError> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            CliError::Usage(format!(
                "--attribute {text:?}: expected name=value or name:Type=value"
            ))
        })?;
        let (name, data_type) = name.split_once(':').unwrap_or((name, "String"));
        let attribute = MessageAttribute {
            data_type: data_type.to_owned(),
            value: value.to_owned(),
        };
        all.insert(name.to_owned(), attribute);
    }
    Ok(MessageAttributes::from(all))
}
