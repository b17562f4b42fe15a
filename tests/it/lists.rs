//! Lists by page, order and time; watching from where one stood.

use std::{collections::BTreeSet, fmt::Write as _};

use signalbox_proto::v1::{
    Execution, ExecutionState, ListExecutionsRequest, ListWorkflowVersionsRequest,
    RunWorkflowRequest, UpdateWorkflowRequest, WatchExecutionsRequest, Workflow,
};
use signalbox_tests::{
    api::Api,
    cli::Cli,
    planes::{Options, Planes},
};
use tonic::{Code, Status};

const SPEC: &str = "
trigger: {manual: {}}
steps: [{id: done, succeed: {output: 1}}]
";

/// Runs a workflow until its execution has succeeded.
async fn run(api: &Api, workflow: &str) -> Execution {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        ..Default::default()
    };
    let started = api.workflows().run_workflow(request).await;
    let name = started.unwrap().into_inner().name;
    api.execution_in(&name, ExecutionState::Succeeded).await
}

fn listing() -> ListExecutionsRequest {
    ListExecutionsRequest {
        parent: "projects/default".to_owned(),
        page_size: 2,
        ..Default::default()
    }
}

/// The names on all pages.
async fn names(api: &Api, mut request: ListExecutionsRequest) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let page = api.executions().list_executions(request.clone()).await;
        let page = page.unwrap().into_inner();
        names.extend(page.executions.into_iter().map(|of| of.name));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            return names;
        }
    }
}

fn assert_invalid<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains(field), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_have_an_order_and_their_tokens_are_good_for_them_only() {
    let (_planes, api) = Planes::start(Options::default()).await;
    api.create_workflow("a", SPEC).await;
    api.create_workflow("b", SPEC).await;
    let mut ran = Vec::new();
    for workflow in ["a", "b", "a", "b", "a"] {
        ran.push(run(&api, workflow).await);
    }
    let in_order: Vec<String> = ran.iter().map(|of| of.name.clone()).collect();
    let oldest_first = ListExecutionsRequest {
        order_by: "create_time".to_owned(),
        ..listing()
    };
    assert_eq!(names(&api, oldest_first.clone()).await, in_order);
    let newest_first: Vec<String> = in_order.iter().rev().cloned().collect();
    assert_eq!(names(&api, listing()).await, newest_first);

    let second = ran[1].create_time.unwrap();
    let since = ListExecutionsRequest {
        filter: format!("workflow == \"a\" && create_time >= timestamp(\"{second}\")"),
        ..oldest_first.clone()
    };
    let expected = [&in_order[2], &in_order[4]];
    assert_eq!(
        names(&api, since).await.iter().collect::<Vec<_>>(),
        expected
    );

    let page = api.executions().list_executions(listing()).await;
    let page_token = page.unwrap().into_inner().next_page_token;
    for other in [
        ListExecutionsRequest {
            filter: "workflow == \"a\"".to_owned(),
            ..listing()
        },
        oldest_first.clone(),
        ListExecutionsRequest {
            parent: "projects/other".to_owned(),
            ..listing()
        },
    ] {
        let request = ListExecutionsRequest {
            page_token: page_token.clone(),
            ..other
        };
        assert_invalid(
            api.executions().list_executions(request).await,
            "page_token",
        );
    }
    let by_state = ListExecutionsRequest {
        order_by: "state".to_owned(),
        ..listing()
    };
    assert_invalid(api.executions().list_executions(by_state).await, "order_by");
}

/// A definition of about 115 KB.
fn large(n: usize) -> String {
    let mut spec = "trigger: {manual: {}}\nsteps:\n".to_owned();
    for step in 0..8 {
        let text = "x".repeat(14_000);
        writeln!(
            spec,
            "  - {{id: s{step}, transform: {{expression: \"'{n}{text}'\"}}}}"
        )
        .unwrap();
    }
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_is_one_message_that_every_client_takes() {
    const VERSIONS: usize = 45;
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let api = planes.api("admin");
    api.create_workflow("w", &large(1)).await;
    for n in 2..=VERSIONS {
        let spec = signalbox_proto::convert::json::from_yaml_str(&large(n)).unwrap();
        let request = UpdateWorkflowRequest {
            workflow: Some(Workflow {
                name: "projects/default/workflows/w".to_owned(),
                spec: Some(spec),
                ..Default::default()
            }),
            ..Default::default()
        };
        api.workflows().update_workflow(request).await.unwrap();
    }
    // This client takes 4 MiB, as those of all languages do; the versions have more than five.
    let mut request = ListWorkflowVersionsRequest {
        parent: "projects/default/workflows/w".to_owned(),
        ..Default::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = api
            .workflows()
            .list_workflow_versions(request.clone())
            .await;
        let page = page.unwrap().into_inner();
        pages.push(page.versions);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages.len(), 2);
    let numbers: Vec<_> = pages.concat().iter().map(|of| of.version).collect();
    let expected: Vec<_> = (1..=i64::try_from(VERSIONS).unwrap()).rev().collect();
    assert_eq!(numbers, expected);

    // What is published is on the second page.
    let cli = Cli::new(&planes.control, "admin");
    let exported = cli.ok(&["export", "-o", "json"]).await;
    assert!(exported.contains("'1xxx") && !exported.contains("'2xxx"));
    let few = cli.ok(&["workflows", "versions", "w", "-o", "json"]).await;
    assert_eq!(few.matches("createTime").count(), VERSIONS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_goes_on_where_it_stood() {
    let (_planes, api) = Planes::start(Options::default()).await;
    api.create_workflow("a", SPEC).await;
    let watching = |watch_token: &str| WatchExecutionsRequest {
        parent: "projects/default".to_owned(),
        watch_token: watch_token.to_owned(),
        ..Default::default()
    };
    let watch = async |request| {
        let stream = api.executions().watch_executions(request).await;
        stream.map(tonic::Response::into_inner)
    };
    let mut stream = watch(watching("")).await.unwrap();
    let first = run(&api, "a").await;
    let token = loop {
        let seen = stream.message().await.unwrap().unwrap();
        assert_eq!(seen.name, first.name);
        if seen.state() == ExecutionState::Succeeded {
            break seen.watch_token;
        }
    };
    drop(stream);
    // Nobody watches meanwhile.
    let mut missed = BTreeSet::new();
    for _ in 0..5 {
        missed.insert(run(&api, "a").await.name);
    }
    let mut stream = watch(watching(&token)).await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < missed.len() {
        let next = stream.message().await.unwrap().unwrap();
        assert_ne!(next.name, first.name, "it was seen before");
        seen.insert(next.name);
    }
    assert_eq!(seen, missed);

    let other_filter = WatchExecutionsRequest {
        filter: "state == \"FAILED\"".to_owned(),
        ..watching(&token)
    };
    assert_invalid(watch(other_filter).await.map(drop), "watch_token");
    assert_invalid(watch(watching("x")).await.map(drop), "watch_token");
}
