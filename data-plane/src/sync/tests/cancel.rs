//! Executions that are to be ended.

use signalbox_model::{
    execution::{ExecutionState, Failure},
    ids::ExecutionName,
    record::Record,
};

use super::*;
use crate::spool::Spool as _;

fn cancel(execution: &ExecutionName) -> wire::Command {
    wire::Command {
        command_id: format!("cancel-{}", execution.execution),
        lease: None,
        kind: Some(wire::command::Kind::Cancel(wire::CancelCommand {
            execution: execution.to_string(),
        })),
    }
}

async fn result(connection: &mut Connection, command: wire::Command) -> wire::CommandResult {
    connection.send(ToNode::Command(command)).await;
    match connection.answer().await {
        FromNode::CommandResult(result) => result,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_the_node_does_not_know_it_says_so_but_not_while_an_end_is_to_be_reported() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 1, vec![workflow("w", 3)]);
    connection.send(ToNode::Config(first)).await;
    connection.answer().await;
    let ran = result(&mut connection, manual_run()).await;
    assert_eq!(
        (ran.refusal.as_str(), ran.unknown_execution.as_str()),
        ("", "")
    );

    let name: ExecutionName = "projects/default/executions/e1".parse().unwrap();
    let mut unknown = async |name: &ExecutionName| {
        let result = result(&mut connection, cancel(name)).await;
        assert_eq!(result.refusal, "");
        result.unknown_execution
    };
    assert_eq!(unknown(&name).await, "");
    assert_eq!(node.spool.claim(1).await.unwrap().len(), 1);
    assert_eq!(unknown(&name).await, "");
    let ended = Record {
        time: jiff::Timestamp::now(),
        traceparent: None,
        body: RecordBody::Execution {
            execution: name.clone(),
            fact: Fact::Finished {
                state: ExecutionState::Cancelled,
                output: None,
                error: Some(Failure::cancelled()),
            },
        },
    };
    node.spool
        .journal(name.clone(), vec![ended], true)
        .await
        .unwrap();
    // How it ended is still to be said.
    assert_eq!(unknown(&name).await, "");
    let head = *node.spool.head().borrow();
    node.spool.trim(head).await.unwrap();
    assert_eq!(unknown(&name).await, name.to_string());
    let other = "projects/default/executions/e2".parse().unwrap();
    assert_eq!(unknown(&other).await, "projects/default/executions/e2");
}
