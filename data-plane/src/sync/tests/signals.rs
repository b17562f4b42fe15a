//! What executions are told.

use signalbox_model::{execution::Fact, record::RecordBody};
use signalbox_proto::v1;

use super::*;

fn command(execution: &str, name: &str) -> wire::Command {
    let signal = wire::Signal {
        signal_id: "s1".into(),
        kind: Some(wire::signal::Kind::Signal(v1::NamedSignal {
            name: name.into(),
            payload_json: r#"{"n":12345678901234567890}"#.into(),
        })),
        by: "ann".into(),
        time: Some(convert::time::to_wire(jiff::Timestamp::now())),
    };
    wire::Command {
        command_id: "signal-1".into(),
        lease: None,
        kind: Some(wire::command::Kind::Signal(wire::SignalCommand {
            execution: format!("projects/default/executions/{execution}"),
            signal: Some(signal),
            traceparent: "00-1-2-01".into(),
        })),
    }
}

#[tokio::test]
async fn a_signal_is_answered_when_it_is_durable_and_told_once() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 1, vec![workflow("w", 3)]);
    connection.send(ToNode::Config(first)).await;
    connection.answer().await;
    let refusal = async |connection: &mut Connection, command: wire::Command| {
        connection.send(ToNode::Command(command)).await;
        match connection.answer().await {
            FromNode::CommandResult(result) => result.refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal(&mut connection, manual_run()).await, "");
    // The answer to the first may be lost; and what is not here has ended.
    for execution in ["e1", "e1", "e2"] {
        let refused = refusal(&mut connection, command(execution, "go")).await;
        assert_eq!(refused, "");
    }
    let wrong = refusal(&mut connection, command("e1", "no name")).await;
    assert!(wrong.contains("signal's name"), "{wrong}");

    let told = |id: &str| {
        let name = format!("projects/default/executions/{id}").parse().unwrap();
        node.spool.told(name, 0)
    };
    assert_eq!(told("e2").await.unwrap(), []);
    let told = told("e1").await.unwrap();
    let [told] = &told[..] else {
        panic!("{told:?}")
    };
    assert_eq!(told.record.traceparent.as_deref(), Some("00-1-2-01"));
    let RecordBody::Execution {
        fact: Fact::SignalReceived(signal),
        ..
    } = &told.record.body
    else {
        panic!("{told:?}")
    };
    assert_eq!(signal.by, "ann");
}
