//! The `slack` step.

use signalbox_model::{
    limits,
    violation::Collector,
    workflow::{SlackStep, SlackTarget},
};

use super::{
    http::{optional, url_template, written},
    texts::{json_template, template},
};
use crate::v1;

pub(super) fn slack_step(
    path: &str,
    step: &v1::SlackStep,
    problems: &mut Collector,
) -> Option<SlackStep> {
    let v1::SlackStep {
        webhook_url: _,
        token: _,
        channel: _,
        text,
        blocks,
        thread_ts,
        api_url: _,
    } = step;
    let target = target_of(path, step, problems);
    if text.is_empty() && blocks.is_none() {
        problems.add(path, "says nothing: expected text, blocks or both");
    }
    let mut template = |name: &str, text: &str| {
        optional(written(text), |text| {
            template(&format!("{path}.{name}"), text, problems)
        })
    };
    let text = template("text", text);
    let thread_ts = template("threadTs", thread_ts);
    let blocks = optional(blocks.as_ref(), |blocks| {
        let field = format!("{path}.blocks");
        let template = json_template(&field, blocks, problems);
        if let Some(problem) = blocks_problem(blocks) {
            problems.add(field, problem);
            return None;
        }
        template
    });
    Some(SlackStep {
        target: target?,
        text: text?,
        blocks: blocks?,
        thread_ts: thread_ts?,
    })
}

fn target_of(path: &str, step: &v1::SlackStep, problems: &mut Collector) -> Option<SlackTarget> {
    let field = |name: &str| format!("{path}.{name}");
    if let Some(url) = written(&step.webhook_url) {
        for (name, text) in [
            ("token", &step.token),
            ("channel", &step.channel),
            ("apiUrl", &step.api_url),
        ] {
            if !text.is_empty() {
                problems.add(
                    field(name),
                    "is for chat.postMessage, and webhookUrl is set: leave out one of both",
                );
            }
        }
        let url = url_template(&field("webhookUrl"), url, false, problems)?;
        return Some(SlackTarget::Webhook { url });
    }
    if step.token.is_empty() && step.channel.is_empty() {
        problems.add(
            path,
            "says not where to: expected webhookUrl, or token and channel",
        );
        return None;
    }
    let api_url = optional(written(&step.api_url), |url| {
        url_template(&field("apiUrl"), url, false, problems)
    });
    let mut required = |name: &str, text: &str| match written(text) {
        Some(text) => template(&field(name), text, problems),
        None => {
            problems.add(
                field(name),
                "is missing: chat.postMessage needs token and channel",
            );
            None
        }
    };
    let token = required("token", &step.token);
    let channel = required("channel", &step.channel);
    Some(SlackTarget::Method {
        api_url: api_url?,
        token: token?,
        channel: channel?,
    })
}

/// A text may be a template that gives a list.
fn blocks_problem(blocks: &prost_types::Value) -> Option<String> {
    use prost_types::value::Kind;
    match &blocks.kind {
        Some(Kind::ListValue(list)) if list.values.len() > limits::SLACK_BLOCKS_MAX => {
            Some(format!(
                "has {} blocks; Slack takes at most {}",
                list.values.len(),
                limits::SLACK_BLOCKS_MAX
            ))
        }
        Some(Kind::ListValue(_)) => None,
        Some(Kind::StringValue(text)) if text.contains("${{") => None,
        _ => Some("is no list of blocks (https://api.slack.com/block-kit)".to_owned()),
    }
}
