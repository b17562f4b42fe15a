//! Executions that steps of others start.

use signalbox_model::{
    child::{ChildEnd, Parent},
    ids::ExecutionName,
};

use super::*;

fn name(id: &str) -> ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

fn child_of(parent: &str, step: &str, id: &str) -> RecordBody {
    let RecordBody::Accepted(mut accepted) = accepted(id) else {
        panic!("an execution is accepted otherwise")
    };
    accepted.event.trigger = TriggerKind::Workflow;
    accepted.event.api_key = None;
    accepted.parent = Some(Box::new(Parent {
        execution: name(parent),
        step: step.parse().unwrap(),
        attempt: 1,
        waits: true,
        depth: 1,
    }));
    RecordBody::Accepted(accepted)
}

fn step(id: &str, step: &str, kind: &str) -> Vec<RecordBody> {
    let started = Fact::StepStarted {
        step: step.parse().unwrap(),
        kind: kind.into(),
        input: JsonText::from_value(&serde_json::json!({"workflow": "w"})),
    };
    let attempt = Fact::AttemptStarted {
        step: step.parse().unwrap(),
        number: 1,
        repeated: false,
    };
    vec![fact(id, started), fact(id, attempt)]
}

fn finished(state: ExecutionState) -> Fact {
    Fact::Finished {
        state,
        output: Some(JsonText::from_value(&7.into())),
        error: None,
    }
}

async fn report(app: &App, first: u64, bodies: Vec<RecordBody>) {
    let records: Vec<_> = (first..)
        .zip(bodies)
        .map(|(at, body)| record(at, body))
        .collect();
    let last = records.last().unwrap().sequence;
    app.apply_records(&node("n1"), "a", &records, last, decode_any)
        .await
        .unwrap();
}

#[tokio::test]
async fn parents_and_children_name_each_other_whichever_is_reported_first() {
    each_database(async |store| {
        let app = app(store);
        // The children's first records come before the parent's.
        let early = vec![
            child_of("p", "call[0]", "c0"),
            child_of("p", "call[1]", "c1"),
            fact("c0", Fact::Started),
            fact("c0", finished(ExecutionState::Succeeded)),
        ];
        report(&app, 1, early).await;
        let child = app.execution(&name("c0")).await.unwrap().execution;
        assert_eq!(child.parent.as_deref(), Some("p"));
        assert_eq!(child.parent_step.as_deref(), Some("call[0]"));
        assert_eq!(child.trigger_kind, "WORKFLOW");
        let mut later = vec![accepted("p"), fact("p", Fact::Started)];
        for run in ["call[0]", "call[1]"] {
            later.extend(step("p", run, "runWorkflow"));
            later.push(fact(
                "p",
                Fact::ChildStarted {
                    step: run.parse().unwrap(),
                    number: 1,
                    child: name(&format!("c{}", &run[5..6])),
                    waits: true,
                },
            ));
        }
        report(&app, 10, later).await;
        let detail = app.execution(&name("p")).await.unwrap();
        let children: Vec<_> = detail
            .children
            .iter()
            .map(|child| [&*child.id, &*child.step, &*child.state, &*child.workflow])
            .collect();
        assert_eq!(
            children,
            [
                ["c0", "call[0]", "SUCCEEDED", "w"],
                ["c1", "call[1]", "QUEUED", "w"]
            ]
        );
        // It waits, and takes no place meanwhile.
        assert_eq!(detail.execution.state, "WAITING");
        assert!(detail.steps.iter().all(|(run, _)| run.state == "WAITING"));
        assert_eq!(detail.execution.parent, None);

        let end = ChildEnd {
            step: "call[0]".parse().unwrap(),
            number: 1,
            child: name("c0"),
            state: ExecutionState::Succeeded,
            output: Some(JsonText::from_value(&7.into())),
            error: None,
        };
        let done = Fact::StepFinished {
            step: "call[0]".parse().unwrap(),
            state: StepState::Succeeded,
            output: Some(JsonText::from_value(&serde_json::json!({"output": 7}))),
            error: None,
        };
        let ends = [
            Fact::ChildEnded(Box::new(end)),
            done,
            finished(ExecutionState::Succeeded),
        ];
        let ends = ends.map(|of| fact("p", of)).to_vec();
        report(&app, 20, [ends, vec![fact("c1", Fact::Abandoned)]].concat()).await;
        let detail = app.execution(&name("p")).await.unwrap();
        assert_eq!(detail.execution.state, "SUCCEEDED");
        assert!(detail.steps[0].1[0].end_time_us.is_some());

        let listed = async |filter: ExecutionFilter| {
            let page = Page::sized(100).unwrap();
            let found = app.executions(&project(), &filter, &page).await.unwrap();
            let mut ids: Vec<_> = found.rows.into_iter().map(|row| row.id).collect();
            ids.sort();
            ids
        };
        let of_parent = ExecutionFilter {
            parent: Some("p".to_owned()),
            ..ExecutionFilter::default()
        };
        assert_eq!(listed(of_parent).await, ["c0", "c1"]);
        let of_trigger = ExecutionFilter {
            trigger: Some("WORKFLOW".to_owned()),
            ..ExecutionFilter::default()
        };
        assert_eq!(listed(of_trigger).await, ["c0", "c1"]);
    })
    .await;
}

pub(super) fn runs(workflows: &[&str], more: &str) -> NewWorkflow {
    let steps = workflows.iter().enumerate().map(|(n, workflow)| {
        format!("  - {{id: s{n}{more}, runWorkflow: {{workflow: {workflow}}}}}\n")
    });
    let steps: String = steps.collect();
    let yaml = format!("trigger: {{manual: {{}}}}\nsteps:\n{steps}");
    let spec: v1::WorkflowSpec = json::from_yaml_str(&yaml).unwrap();
    NewWorkflow {
        display_name: String::new(),
        description: String::new(),
        labels: Default::default(),
        definition: Definition {
            workflow: Arc::new(definition::workflow(&spec, &project()).unwrap()),
            source: definition::encode(&spec).to_vec(),
        },
    }
}

#[tokio::test]
async fn a_definition_runs_workflows_that_there_are_and_itself_by_a_condition_only() {
    each_database(async |store| {
        let app = app(store);
        let create = async |id: &str, new: NewWorkflow| {
            let id = id.parse().unwrap();
            app.create_workflow(&actor(), &project(), &id, new, true, "")
                .await
                .map_err(|refused| refused.to_string())
        };
        let refused = create("outer", runs(&["inner", "gone"], "")).await.unwrap_err();
        for (place, id) in [(0, "inner"), (1, "gone")] {
            let expected = format!(
                "spec.steps[{place}].runWorkflow.workflow: projects/default/workflows/{id} does not exist"
            );
            assert!(refused.contains(&expected), "{refused}");
        }
        let itself = runs(&["inner"], "");
        let refused = create("inner", itself).await.unwrap_err();
        assert!(
            refused.contains("spec.steps[0].runWorkflow.workflow: every execution would run the workflow itself again"),
            "{refused}"
        );
        create("inner", runs(&["inner"], ", if: event.json.n > 0")).await.unwrap();
        create("outer", runs(&["inner"], "")).await.unwrap();
        let found = app.validate(&project(), None, &runs(&["gone"], "").definition.workflow).await;
        assert_eq!(found.unwrap().len(), 1);
    })
    .await;
}
