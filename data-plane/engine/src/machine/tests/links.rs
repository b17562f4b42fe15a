//! Steps that send the links of approvals: what is sent holds them, what is recorded and shown does not.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use signalbox_model::{
    link::Link,
    secret::HIDDEN,
    signal::ApprovalDecision,
    workflow::{ApprovalTimeout, HttpBody, HttpStep},
};

use super::{
    frames::{for_each, parallel},
    signals::{approval, decided, tell},
    *,
};
use crate::{EffectKind, HttpResponse, LinkMaker, Outcome, Shown};

const BOX: &str = "https://box.test";

/// Tokens that hold what they say, as signed ones do.
#[derive(Debug)]
struct Maker(Option<&'static str>);

impl LinkMaker for Maker {
    fn public_url(&self) -> Option<Arc<str>> {
        self.0.map(Arc::from)
    }

    fn sign(&self, link: &Link) -> Result<String, Failure> {
        let said = serde_json::to_vec(link).unwrap();
        Ok(format!("head.{}.sign", URL_SAFE_NO_PAD.encode(said)))
    }
}

/// Sends the links of `ask`.
fn send(id: &str) -> Step {
    let body = json!({
        "no": "${{ approvals.ask.rejectUrl }}",
        "yes": "${{ approvals.ask.approveUrl }}",
        "n": "${{ event.json.n }}",
    });
    let http = HttpStep {
        body: Some(HttpBody::Json(JsonTemplate::parse(&body).unwrap())),
        ..HttpStep::to(Template::parse("http://h.test/").unwrap())
    };
    step(id, Action::Http(Box::new(http)))
}

fn ask() -> Step {
    approval("ask", ApprovalTimeout::Fail, true)
}

fn machine_with(steps: Vec<Step>) -> Machine {
    let mut machine = machine(steps);
    machine.set_links(Arc::new(Maker(Some(BOX))));
    machine
}

fn request(effect: &Effect) -> Value {
    let EffectKind::Http(request) = &effect.kind else {
        panic!("{effect:?}")
    };
    serde_json::from_slice(request.body.as_deref().unwrap()).unwrap()
}

fn link(url: &Value) -> Link {
    let token = url
        .as_str()
        .unwrap()
        .strip_prefix("https://box.test/approvals/");
    let said = token.unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(said).unwrap()).unwrap()
}

/// An answer that sends back what `effect` sent.
fn echo(effect: &Effect, status: u16) -> Outcome {
    let EffectKind::Http(request) = &effect.kind else {
        panic!("{effect:?}")
    };
    Outcome::Http(HttpResponse {
        status,
        headers: Vec::new(),
        body: request.body.clone().unwrap(),
    })
}

fn awaited(decision: &Decision) -> Vec<Effect> {
    match decision {
        Decision::Await { attempts, .. } => attempts.iter().map(|a| a.as_ref().clone()).collect(),
        other => panic!("{other:?}"),
    }
}

fn holds_a_link(facts: &[Fact]) -> bool {
    format!("{facts:?}").contains(".sign")
}

#[test]
fn links_are_sent_and_nothing_recorded_or_shown_holds_them() {
    let mut machine = machine_with(vec![retried(send("send"), 2), ask()]);
    let (facts, decision) = start(&mut machine);
    let effect = effect(decision);
    let sent = request(&effect);
    let (yes, no) = (link(&sent["yes"]), link(&sent["no"]));
    assert_eq!(yes.decision, ApprovalDecision::Approved);
    assert_eq!(no.decision, ApprovalDecision::Rejected);
    assert_ne!(yes.jti, no.jti);
    for link in [&yes, &no] {
        assert_eq!(link.execution, accepted().execution);
        assert_eq!(link.step.to_string(), "ask");
        assert_eq!(link.sub, "send");
        // From the start to when the execution is out of time.
        assert_eq!(
            (link.iat, link.exp),
            (at(0).as_second(), at(3600).as_second())
        );
    }
    let Fact::StepStarted { input, .. } = &facts[1] else {
        panic!("{facts:?}")
    };
    let body = &input.to_value()["body"];
    assert_eq!(
        *body,
        json!({"n": 3, "no": HIDDEN, "yes": HIDDEN}).to_string()
    );
    assert!(matches!(effect.shown, Shown::Instead(_)));
    assert!(!holds_a_link(&facts) && !format!("{effect:?}").contains(".sign"));

    // Whoever echoes them, well or not: also in the error of an attempt.
    let decision = end(&mut machine, "send", 1, echo(&effect, 503), at(1));
    let (facts, _) = run(&mut machine, decision, at(1));
    assert!(matches!(facts[0], Fact::AttemptFailed { .. }));
    assert!(!holds_a_link(&facts), "{facts:?}");
    let decision = machine.decide(at(100));
    let (_, decision) = run(&mut machine, decision, at(100));
    let again = super::support::effect(decision);
    assert_eq!(request(&again), sent, "each attempt sends the same");
    let decision = end(&mut machine, "send", 2, echo(&again, 200), at(101));
    let (facts, _) = run(&mut machine, decision, at(101));
    let Fact::StepFinished { output, .. } = &facts[0] else {
        panic!("{facts:?}")
    };
    let said = &output.as_ref().unwrap().to_value()["json"];
    let expected = format!("{BOX}/approvals/{HIDDEN}");
    assert_eq!(
        (&said["yes"], &said["no"]),
        (&json!(expected), &json!(expected))
    );
    assert!(!holds_a_link(&facts), "{facts:?}");
}

#[test]
fn a_crash_changes_no_link() {
    let steps = || vec![send("send"), ask()];
    let mut first = machine_with(steps());
    let (facts, decision) = start(&mut first);
    let before = request(&effect(decision));
    let mut second = machine_with(steps());
    for fact in &facts {
        second.replay(fact, at(0)).unwrap();
    }
    let decision = second.decide(at(50));
    let (_, decision) = run(&mut second, decision, at(50));
    let again = effect(decision);
    assert!(again.repeated);
    assert_eq!(request(&again), before);
}

#[test]
fn a_link_that_another_step_is_answered_with_is_masked_until_its_approval_has_ended() {
    // One branch sends and then asks for what was sent; the approval stands beside it.
    let poll = |id| http(id, "http://h.test/history");
    let steps = || {
        let told = vec![send("send"), poll("poll"), poll("late"), poll("last")];
        vec![parallel(
            "both",
            true,
            vec![("told", told), ("asked", vec![ask()])],
        )]
    };
    let mut machine = machine_with(steps());
    let (begun, decision) = start(&mut machine);
    let mut journal: Vec<_> = begun.into_iter().map(|fact| (fact, at(0))).collect();
    let sent = awaited(&decision).remove(0);
    let url = request(&sent)["yes"].as_str().unwrap().to_owned();
    let history = || {
        Outcome::Http(HttpResponse {
            status: 200,
            headers: Vec::new(),
            body: Bytes::from(format!("said: {url}")),
        })
    };
    for (step, outcome) in [("send", echo(&sent, 200)), ("poll", history())] {
        let decision = end(&mut machine, step, 1, outcome, at(1));
        let (facts, _) = run(&mut machine, decision, at(1));
        assert!(!holds_a_link(&facts), "{facts:?}");
        journal.extend(facts.into_iter().map(|fact| (fact, at(1))));
    }
    // Also by a process that did not send it.
    let mut machine = machine_with(steps());
    for (fact, at) in &journal {
        machine.replay(fact, *at).unwrap();
    }
    let decision = machine.decide(at(2));
    run(&mut machine, decision, at(2));
    let decision = end(&mut machine, "late", 1, history(), at(3));
    let (facts, _) = run(&mut machine, decision, at(3));
    assert!(!holds_a_link(&facts), "{facts:?}");
    let decision = decided("s1", "ask", ApprovalDecision::Approved, &url);
    let facts = tell(&mut machine, &decision, at(7));
    assert!(!holds_a_link(&facts), "{facts:?}");
    // It decides nothing any more, and nobody looks for it.
    let decision = end(&mut machine, "last", 1, history(), at(8));
    let (facts, _) = run(&mut machine, decision, at(8));
    assert!(holds_a_link(&facts), "{facts:?}");
}

#[test]
fn each_iteration_sends_the_links_of_its_own_approval() {
    let each = for_each("each", "[1, 2]", 2, true, vec![send("send"), ask()]);
    let mut machine = machine_with(vec![each]);
    let (_, decision) = start(&mut machine);
    let sent: Vec<_> = awaited(&decision).iter().map(request).collect();
    let runs = sent.iter().map(|sent| {
        let link = link(&sent["yes"]);
        format!("{} by {}", link.step, link.sub)
    });
    assert_eq!(
        runs.collect::<Vec<_>>(),
        ["ask[0] by send[0]", "ask[1] by send[1]"]
    );

    // One that stands around it is the same for all.
    let each = for_each("each", "[1, 2]", 2, true, vec![send("send")]);
    let mut machine = machine_with(vec![each, ask()]);
    let (_, decision) = start(&mut machine);
    let links = awaited(&decision)
        .iter()
        .map(|effect| link(&request(effect)["yes"]))
        .collect::<Vec<_>>();
    assert_eq!(links.len(), 2);
    assert!(
        links
            .iter()
            .all(|link| link.step.to_string() == "ask" && link.jti == links[0].jti)
    );
}

#[test]
fn links_that_would_lead_nowhere_fail_their_step_for_good() {
    let none: Option<Arc<dyn LinkMaker>> = None;
    for maker in [none, Some(Arc::new(Maker(None)))] {
        let mut machine = machine(vec![retried(send("send"), 3), ask()]);
        if let Some(maker) = maker {
            machine.set_links(maker);
        }
        let (facts, decision) = start(&mut machine);
        assert!(matches!(decision, Decision::Done(ExecutionState::Failed)));
        let failure = finished(&facts).2.unwrap();
        assert_eq!(failure.code, codes::LINKS_OFF);
        assert!(failure.message.contains("--public-url"), "{failure}");
        let attempts = facts
            .iter()
            .any(|fact| matches!(fact, Fact::AttemptStarted { .. }));
        assert!(!attempts, "{facts:?}");
    }
}
