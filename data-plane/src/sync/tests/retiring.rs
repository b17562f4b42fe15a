//! A node that takes no more.

use super::*;

async fn refusal(connection: &mut Connection, command: wire::Command) -> String {
    connection.send(ToNode::Command(command)).await;
    match connection.answer().await {
        FromNode::CommandResult(result) => result.refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_that_retires_starts_nothing_new_and_stands_by_what_it_has() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 1, vec![workflow("w", 3)]);
    connection.send(ToNode::Config(first)).await;
    connection.answer().await;
    assert_eq!(refusal(&mut connection, manual_run()).await, "");
    node.taking.stop();
    // The answer was lost: were it refused, another node would run it, too.
    assert_eq!(refusal(&mut connection, manual_run()).await, "");
    let mut other = manual_run();
    if let Some(wire::command::Kind::Run(run)) = &mut other.kind {
        run.execution = "projects/default/executions/e2".into();
    }
    let refused = refusal(&mut connection, other).await;
    assert_eq!(refused, "this node is retiring");
    assert_eq!(node.spool.stats().unfinished_executions, 1);
}
