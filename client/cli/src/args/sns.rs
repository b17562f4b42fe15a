//! `sns`: playing Amazon SNS.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use signalbox_sns::TopicArn;

/// `sns`.
#[derive(Debug, Subcommand)]
pub enum SnsCommand {
    /// Send messages as Amazon SNS would. The receiver needs --sns-trusted-origin with the origin that --serve names.
    Publish(Box<PublishArgs>),
}

/// `sns publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Where to post: the webhook's URL with ?x-api-key=… (or https://user:key@host/…).
    // It takes the place of the control plane's --endpoint, which this command does not call.
    #[arg(long, value_name = "URL")]
    pub endpoint: String,
    /// Kind of message.
    #[arg(long = "type", value_enum, default_value_t = MessageKind::Notification)]
    pub kind: MessageKind,
    /// Topic that it claims to come from.
    #[arg(long, default_value = "arn:aws:sns:us-east-1:123456789012:simulated")]
    pub topic_arn: TopicArn,
    /// The message.
    #[arg(
        long,
        short,
        default_value = "Hello from a simulated Amazon SNS",
        conflicts_with = "message_file"
    )]
    pub message: String,
    /// File with the message; '-' reads standard input.
    #[arg(long)]
    pub message_file: Option<PathBuf>,
    /// Subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Attribute, name=value (String) or name:Type=value.
    #[arg(long = "attribute")]
    pub attributes: Vec<String>,
    /// 1 (RSA-SHA1) or 2 (RSA-SHA256).
    #[arg(long, default_value = "2")]
    pub signature_version: signalbox_sns::SignatureVersion,
    /// Id of the (first) message; random unless given.
    #[arg(long)]
    pub message_id: Option<String>,
    /// Spoil the signature.
    #[arg(long)]
    pub bad_signature: bool,
    /// Send each message so many times.
    #[arg(long, default_value = "1")]
    pub duplicate: NonZeroU32,
    /// Send so many different messages.
    #[arg(long, default_value = "1")]
    pub count: NonZeroU32,
    /// Send so many of them at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,
    /// Try again as Amazon SNS does, ten times faster; otherwise each message is sent once.
    #[arg(long)]
    pub retry: bool,
    /// Where the signing certificate and SubscribeURL are served while this runs.
    #[arg(long, default_value = "127.0.0.1:4566")]
    pub serve: SocketAddr,
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageKind {
    /// A Notification.
    Notification,
    /// A SubscriptionConfirmation; waits until it is confirmed.
    Confirmation,
    /// An UnsubscribeConfirmation.
    Unsubscribe,
    /// A raw message, without envelope and signature.
    Raw,
}
