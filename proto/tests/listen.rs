//! Steps that wait for others, and what these tell them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::{
    ids::ProjectId,
    signal::{ApprovalDecision, Signal, SignalKind},
};
use signalbox_proto::{
    convert::{definition, json, signal},
    v1,
};

#[test]
fn signals_cross_the_wire_as_they_are() {
    let told = |kind| Signal {
        id: "s1".parse().unwrap(),
        kind,
        by: "ann".into(),
        at: "2026-11-24T10:00:00.123456789Z".parse().unwrap(),
    };
    let payload = "{\"n\":9007199254740993}".to_owned();
    for kind in [
        SignalKind::Named {
            name: "order:1.paid".parse().unwrap(),
            payload: payload.try_into().unwrap(),
        },
        SignalKind::Decision {
            step: "ask[2][0]".parse().unwrap(),
            decision: ApprovalDecision::Rejected,
            comment: "no".into(),
        },
    ] {
        let whole = signal::to_wire(told(kind.clone()));
        assert_eq!(signal::from_wire(whole.clone()).unwrap(), told(kind));
        let mut cut = whole.clone();
        cut.kind = None;
        assert!(signal::from_wire(cut).is_err());
        let mut cut = whole;
        cut.signal_id = "A B".to_owned();
        assert!(signal::from_wire(cut).is_err());
    }
    let bare = v1::NamedSignal {
        name: "go".into(),
        payload_json: String::new(),
    };
    let SignalKind::Named { payload, .. } = signal::named(bare.clone()).unwrap() else {
        panic!()
    };
    assert_eq!(payload.as_str(), "null");
    for payload in ["{", "1 2"] {
        let payload_json = payload.to_owned();
        let wrong = v1::NamedSignal {
            payload_json,
            ..bare.clone()
        };
        assert!(signal::named(wrong).is_err(), "{payload}");
    }
}

#[test]
fn what_waits_for_others_is_read_as_it_is_written() {
    use signalbox_model::workflow::{
        Action, ApprovalStep, ApprovalTimeout, SignalTimeout, SignalWait, WaitStep,
    };
    use std::time::Duration;
    let text = r#"
trigger: {manual: {}}
steps:
  - id: paid
    wait: {signal: {name: "paid-${{ event.json.order }}", timeout: 60s, onTimeout: continue}}
  - id: plain
    wait: {signal: {name: go}}
  - id: ask
    approval:
      message: Ship ${{ event.json.order }}?
      approvers: [ann@example.com, the desk]
      timeout: 3600s
      onTimeout: reject
      rejectedIsOutput: true
  - id: simple
    approval: {message: Sure?}
"#;
    let spec: v1::WorkflowSpec = json::from_yaml_str(text).unwrap();
    let workflow =
        definition::decode(&definition::encode(&spec), &ProjectId::default_project()).unwrap();
    let signal = |id: &str| match &workflow.step(&id.parse().unwrap()).unwrap().action {
        Action::Wait(WaitStep::Signal(signal)) => signal.clone(),
        other => panic!("{other:?}"),
    };
    let SignalWait {
        timeout,
        on_timeout,
        ..
    } = signal("paid");
    let minute = Duration::from_secs(60);
    assert_eq!(
        (timeout, on_timeout),
        (Some(minute), SignalTimeout::Continue)
    );
    let plain = signal("plain");
    assert_eq!(
        (plain.timeout, plain.on_timeout),
        (None, SignalTimeout::Fail)
    );
    let approval = |id: &str| match &workflow.step(&id.parse().unwrap()).unwrap().action {
        Action::Approval(approval) => approval.clone(),
        other => panic!("{other:?}"),
    };
    let ApprovalStep {
        approvers,
        timeout,
        on_timeout,
        rejected_is_output,
        ..
    } = approval("ask");
    assert_eq!(approvers, ["ann@example.com", "the desk"]);
    assert_eq!(timeout, Some(60 * minute));
    assert_eq!(
        (on_timeout, rejected_is_output),
        (ApprovalTimeout::Reject, true)
    );
    let simple = approval("simple");
    assert_eq!(simple.effective_timeout(), 7 * 24 * 60 * minute);
    assert_eq!(
        (simple.on_timeout, simple.rejected_is_output),
        (ApprovalTimeout::Fail, false)
    );
    assert_eq!(workflow.timeout(), 30 * 24 * 60 * minute);
}
