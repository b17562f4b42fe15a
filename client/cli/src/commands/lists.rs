//! `signalbox deliveries`, `subscriptions`.

use signalbox_proto::v1;

use super::pages;
use crate::{
    CliError, Output,
    args::{DeliveriesCommand, Global, SubscriptionsCommand},
    output::{short, time, value},
};

/// The workflow, or all of the project (AIP-159).
fn of_workflow(global: &Global, workflow: Option<String>) -> Result<String, CliError> {
    global.name("workflows", workflow.as_deref().unwrap_or("-"))
}

pub(crate) async fn deliveries(
    global: &Global,
    command: DeliveriesCommand,
    output: &Output,
) -> Result<(), CliError> {
    let DeliveriesCommand::List {
        workflow,
        mut filter,
        rejected,
        limit,
    } = command;
    let client = global.client()?;
    let parent = of_workflow(global, workflow)?;
    if rejected {
        let and = if filter.is_empty() { "" } else { " && " };
        filter = format!("verdict == \"REJECTED\"{and}{filter}");
    }
    let request = || v1::ListDeliveriesRequest {
        parent: parent.clone(),
        filter: filter.clone(),
        ..Default::default()
    };
    let all = pages!(
        client,
        limit,
        deliveries.list_deliveries(request()).deliveries
    );
    if rejected {
        return refusals(&all, output);
    }
    let header = [
        "RECEIVED",
        "VERDICT",
        "STATUS",
        "REASON",
        "TYPE",
        "MESSAGE",
        "FROM",
        "EXECUTION",
    ];
    output.list(&all, header, |delivery| {
        [
            time(delivery.receive_time.as_ref()),
            value(delivery.verdict().as_str_name(), "DELIVERY_VERDICT_"),
            delivery.http_status.to_string(),
            delivery.reason.clone(),
            delivery.message_type.clone(),
            delivery.message_id.clone(),
            delivery.source_address.clone(),
            short(&delivery.execution),
        ]
    })
}

fn refusals(all: &[v1::Delivery], output: &Output) -> Result<(), CliError> {
    let header = [
        "RECEIVED", "STATUS", "REASON", "TYPE", "MESSAGE", "TOPIC", "FROM", "DETAIL",
    ];
    output.list(all, header, |delivery| {
        [
            time(delivery.receive_time.as_ref()),
            delivery.http_status.to_string(),
            delivery.reason.clone(),
            delivery.message_type.clone(),
            delivery.message_id.clone(),
            delivery.topic_arn.clone(),
            delivery.source_address.clone(),
            delivery.detail.clone(),
        ]
    })
}

pub(crate) async fn subscriptions(
    global: &Global,
    command: SubscriptionsCommand,
    output: &Output,
) -> Result<(), CliError> {
    let SubscriptionsCommand::List { workflow } = command;
    let client = global.client()?;
    let parent = of_workflow(global, workflow)?;
    let request = || v1::ListSubscriptionsRequest {
        parent: parent.clone(),
        ..Default::default()
    };
    let all = pages!(
        client,
        usize::MAX,
        subscriptions.list_subscriptions(request()).subscriptions
    );
    let header = [
        "WORKFLOW",
        "TOPIC",
        "STATE",
        "ATTEMPTS",
        "UPDATED",
        "LAST ERROR",
    ];
    output.list(&all, header, |subscription| {
        let workflow = subscription.name.split('/').nth(3).unwrap_or_default();
        [
            workflow.to_owned(),
            subscription.topic_arn.clone(),
            value(subscription.state().as_str_name(), "SUBSCRIPTION_STATE_"),
            subscription.confirm_attempts.to_string(),
            time(subscription.update_time.as_ref()),
            subscription.last_error.clone(),
        ]
    })
}
