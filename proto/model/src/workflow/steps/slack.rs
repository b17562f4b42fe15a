//! `slack`: posts a message to Slack.

use crate::{
    expression::{Expression, JsonTemplate, Template},
    workflow::steps::at,
};

/// Posts a message to Slack. Has a text, blocks, or both.
#[derive(Clone, Debug)]
pub struct SlackStep {
    /// Where to.
    pub target: SlackTarget,
    /// What it says; beside blocks, what notifications say.
    pub text: Option<Template>,
    /// Blocks of the Block Kit: gives a list.
    pub blocks: Option<JsonTemplate>,
    /// The `ts` of the message that it answers; an empty text for none.
    pub thread_ts: Option<Template>,
}

/// Where a message goes.
#[derive(Clone, Debug)]
pub enum SlackTarget {
    /// To the channel of an incoming webhook.
    Webhook {
        /// Its URL, which is a credential.
        url: Template,
    },
    /// By chat.postMessage.
    Method {
        /// The API; without one, <https://slack.com/api>.
        api_url: Option<Template>,
        /// Token with the scope chat:write.
        token: Template,
        /// A channel's or a user's id, or a channel's name.
        channel: Template,
    },
}

impl SlackStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        let mut all = match &self.target {
            SlackTarget::Webhook { url } => at("slack.webhookUrl", url.expressions()),
            SlackTarget::Method {
                api_url,
                token,
                channel,
            } => {
                let api_url = api_url.iter().flat_map(Template::expressions);
                let mut all = at("slack.apiUrl", api_url);
                all.extend(at("slack.token", token.expressions()));
                all.extend(at("slack.channel", channel.expressions()));
                all
            }
        };
        let text = self.text.iter().flat_map(Template::expressions);
        all.extend(at("slack.text", text));
        if let Some(blocks) = &self.blocks {
            all.extend(blocks.expressions_at("slack.blocks"));
        }
        let thread_ts = self.thread_ts.iter().flat_map(Template::expressions);
        all.extend(at("slack.threadTs", thread_ts));
        all
    }
}
