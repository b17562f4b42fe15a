//! Both planes, a trusted SNS, and a judge of what became of an attack.

pub(crate) mod flow;
pub(crate) mod letter;
pub(crate) mod origin;
pub(crate) mod stage;
pub(crate) mod wire;

mod judge;

use std::sync::Arc;

use signalbox_sns::{SignatureVersion, signer::Signer};

pub(crate) use flow::Flow;
pub(crate) use judge::Case;
pub(crate) use letter::{Letter, TOPIC};
pub(crate) use stage::{Stage, Workflow};
pub(crate) use wire::{Answer, Post, Wire, connect_from, exchange, exchange_from};

/// The text of every message: it belongs in executions, and nowhere else.
pub(crate) const MESSAGE: &str = "what-only-the-workflow-may-know";
/// How every token begins.
pub(crate) const TOKEN: &str = "token-that-nobody-may-see-";

/// The key that the trusted SNS signs with, and where its certificate is.
#[derive(Clone)]
pub(crate) struct Signing {
    pub(crate) signer: Arc<Signer>,
    pub(crate) certificate_url: String,
}

impl Signing {
    /// As AWS would sign it.
    pub(crate) fn sign(&self, letter: Letter) -> Letter {
        letter.sign(&self.signer, SignatureVersion::V2, &self.certificate_url)
    }

    pub(crate) fn notification(&self, message_id: &str) -> Letter {
        self.sign(Letter::notification(message_id))
    }
}
