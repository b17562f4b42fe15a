//! Projects: apart from each other, each within its quotas, and gone with all that they had.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use signalbox_proto::{
    convert::status::ApiError,
    v1::{
        CreateApiKeyRequest, CreateProjectRequest, CreateWorkflowRequest, DeleteProjectRequest,
        Execution, ExecutionState, GetProjectRequest, ListDeliveriesRequest, ListExecutionsRequest,
        ListProjectsRequest, Project, ProjectQuotas, ProjectState, RunWorkflowRequest,
        UpdateProjectRequest, Workflow,
    },
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::binary,
    wait,
};
use tonic::{Code, Status};

use crate::local_stack::synced;

/// A look every ten seconds, and a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

const HOOK: &str =
    "trigger: {webhook: {apiKeys: [k]}}\nsteps: [{id: a, transform: {expression: event.json.n}}]\n";
const TOPIC: &str =
    "trigger: {amazonSns: {apiKeys: [k]}}\nsteps: [{id: a, transform: {expression: '1'}}]\n";
const MANUAL: &str = "trigger: {manual: {}}\nsteps: [{id: a, transform: {expression: '1'}}]\n";
const WAITS: &str = "trigger: {manual: {}}\nsteps: [{id: a, wait: {duration: 3600s}}]\n";

async fn create(api: &Api, project: &str) -> Result<Project, Status> {
    let request = CreateProjectRequest {
        project_id: project.to_owned(),
        ..CreateProjectRequest::default()
    };
    Ok(api.projects().create_project(request).await?.into_inner())
}

async fn get(api: &Api, project: &str) -> Result<Project, Status> {
    let name = format!("projects/{project}");
    let request = GetProjectRequest { name };
    Ok(api.projects().get_project(request).await?.into_inner())
}

async fn delete(api: &Api, project: &str, force: bool) -> Result<(), Status> {
    let request = DeleteProjectRequest {
        name: format!("projects/{project}"),
        force,
        ..DeleteProjectRequest::default()
    };
    api.projects().delete_project(request).await?;
    Ok(())
}

async fn bound(api: &Api, project: &str, quotas: ProjectQuotas) -> Result<Project, Status> {
    let request = UpdateProjectRequest {
        project: Some(Project {
            name: format!("projects/{project}"),
            quotas: Some(quotas),
            ..Project::default()
        }),
        update_mask: Some(prost_types::FieldMask {
            paths: vec!["quotas".to_owned()],
        }),
    };
    Ok(api.projects().update_project(request).await?.into_inner())
}

async fn key(api: &Api, project: &str, id: &str) -> Result<String, Status> {
    let request = CreateApiKeyRequest {
        parent: format!("projects/{project}"),
        api_key_id: id.to_owned(),
        ..CreateApiKeyRequest::default()
    };
    Ok(api.keys().create_api_key(request).await?.into_inner().value)
}

async fn workflow(api: &Api, project: &str, id: &str, yaml: &str) -> Result<(), Status> {
    let spec = signalbox_proto::convert::json::from_yaml_str(yaml).unwrap();
    let request = CreateWorkflowRequest {
        parent: format!("projects/{project}"),
        workflow_id: id.to_owned(),
        workflow: Some(Workflow {
            spec: Some(spec),
            ..Workflow::default()
        }),
        publish: true,
        ..CreateWorkflowRequest::default()
    };
    api.workflows().create_workflow(request).await?;
    Ok(())
}

async fn run(api: &Api, project: &str, id: &str) -> Result<String, Status> {
    let large = prost_types::Value::from("x".repeat(50_000));
    let request = RunWorkflowRequest {
        name: format!("projects/{project}/workflows/{id}"),
        input: Some(large),
        ..RunWorkflowRequest::default()
    };
    let started = api.workflows().run_workflow(request).await?;
    Ok(started.into_inner().name)
}

async fn executions(api: &Api, project: &str) -> Result<Vec<Execution>, Status> {
    let request = ListExecutionsRequest {
        parent: format!("projects/{project}"),
        page_size: 1000,
        ..ListExecutionsRequest::default()
    };
    let listed = api.executions().list_executions(request).await?;
    Ok(listed.into_inner().executions)
}

/// The ids of the projects that are shown.
async fn shown(api: &Api) -> Result<Vec<String>, Status> {
    let request = ListProjectsRequest::default();
    let listed = api.projects().list_projects(request).await?;
    let projects = listed.into_inner().projects.into_iter();
    Ok(projects
        .map(|it| it.name.rsplit('/').next().unwrap().to_owned())
        .collect())
}

fn url(planes: &Planes, project: &str, path: &str, key: &str) -> String {
    let base = &planes.data.webhook_url;
    format!("{base}/v1/projects/{project}/workflows/{path}?x-api-key={key}")
}

async fn post(url: &str) -> reqwest::Response {
    let client = reqwest::Client::new();
    client
        .post(url)
        .json(&json!({"n": 1}))
        .send()
        .await
        .unwrap()
}

/// Why it was refused, and what its message says.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) -> (String, String) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    let error = ApiError::from(status);
    (error.reason.unwrap_or_default(), error.message)
}

fn exhausted<T: std::fmt::Debug>(answer: Result<T, Status>, says: &str) {
    let (reason, message) = refused(answer, Code::ResourceExhausted);
    assert_eq!(reason, "QUOTA_EXCEEDED");
    assert!(message.contains(says), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_projects_are_apart_and_one_goes_with_all_that_it_has() {
    let (planes, api) = Planes::start(Options::default()).await;
    let mut keys = Vec::new();
    for project in ["one", "two"] {
        let made = create(&api, project).await.unwrap();
        assert_eq!(made.state(), ProjectState::Active);
        keys.push(key(&api, project, "k").await.unwrap());
        workflow(&api, project, "hook", HOOK).await.unwrap();
        workflow(&api, project, "waits", WAITS).await.unwrap();
    }
    let urls: Vec<_> = ["one", "two"]
        .into_iter()
        .zip(&keys)
        .map(|(project, key)| url(&planes, project, "hook/webhook", key))
        .collect();
    synced(&api).await;
    for url in &urls {
        assert_eq!(post(url).await.status(), 200);
    }
    let foreign = url(&planes, "one", "hook/webhook", &keys[1]);
    assert_eq!(post(&foreign).await.status(), 403);

    // Who has a role in one sees nothing of the other.
    let of_one = |role: &str| {
        let token = planes.control.token_in("one", role);
        Api::new(&planes.control.endpoint, &token)
    };
    let viewer = of_one("viewer");
    assert_eq!(shown(&viewer).await.unwrap(), ["one"]);
    assert_eq!(shown(&api).await.unwrap(), ["two", "one", "default"]);
    get(&viewer, "one").await.unwrap();
    refused(get(&viewer, "two").await, Code::PermissionDenied);
    refused(executions(&viewer, "two").await, Code::PermissionDenied);
    let admin = of_one("admin");
    refused(create(&admin, "three").await, Code::PermissionDenied);
    refused(delete(&admin, "one", true).await, Code::PermissionDenied);
    let quotas = ProjectQuotas::default();
    refused(bound(&admin, "one", quotas).await, Code::PermissionDenied);

    let waiting = run(&api, "one", "waits").await.unwrap();
    api.execution_in(&waiting, ExecutionState::Waiting).await;
    let (reason, _) = refused(delete(&api, "one", false).await, Code::FailedPrecondition);
    assert_eq!(reason, "PROJECT_NOT_EMPTY");
    let (reason, _) = refused(
        delete(&api, "default", true).await,
        Code::FailedPrecondition,
    );
    assert_eq!(reason, "DEFAULT_PROJECT");
    delete(&api, "one", true).await.unwrap();
    let start = Instant::now();
    while post(&urls[0]).await.status() != 401 {
        assert!(start.elapsed() < Duration::from_secs(1), "its key counts");
    }
    assert_eq!(post(&urls[1]).await.status(), 200);
    let rest = get(&api, "one").await.unwrap();
    assert_eq!(rest.state(), ProjectState::Deleting);
    let (reason, _) = refused(create(&api, "one").await, Code::FailedPrecondition);
    assert_eq!(reason, "PROJECT_DELETED");
    wait::until("the history to be gone", LIMIT, || async {
        let left = executions(&api, "one").await;
        match left.map_err(|status| status.to_string())?.len() {
            0 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    // It may be gone as a whole by now.
    if let Ok(rest) = get(&api, "one").await {
        assert_eq!(rest.usage.unwrap().history_bytes, Some(0));
    }
    wait::until("both of the other to be reported", LIMIT, || async {
        let left = executions(&api, "two").await;
        match left.map_err(|status| status.to_string())?.len() {
            2 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_quota_is_reached_and_says_which_it_is() {
    let options = Options {
        control_plane: ["--quota-workflows", "4", "--quota-api-keys", "7"]
            .map(str::to_owned)
            .into(),
        ..Options::default()
    };
    let (planes, api) = Planes::start(options).await;
    create(&api, "p").await.unwrap();
    let one_key = ProjectQuotas {
        api_keys: Some(1),
        ..ProjectQuotas::default()
    };
    let project = bound(&api, "p", one_key).await.unwrap();
    let effective = project.effective_quotas.unwrap();
    assert_eq!(
        (effective.workflows, effective.api_keys),
        (Some(4), Some(1))
    );
    let value = key(&api, "p", "k").await.unwrap();
    exhausted(key(&api, "p", "k2").await, "quota api_keys: it uses 1 of 1");
    for (id, yaml) in [
        ("hook", HOOK),
        ("topic", TOPIC),
        ("run", MANUAL),
        ("waits", WAITS),
    ] {
        workflow(&api, "p", id, yaml).await.unwrap();
    }
    let fifth = workflow(&api, "p", "fifth", MANUAL).await;
    exhausted(fifth, "quota workflows: it uses 4 of 4");

    // Events a second, at the node.
    let hook = url(&planes, "p", "hook/webhook", &value);
    let topic = url(&planes, "p", "topic/sns", &value);
    let slow = ProjectQuotas {
        events_per_second: Some(1),
        ..one_key
    };
    bound(&api, "p", slow).await.unwrap();
    synced(&api).await;
    for (url, status) in [(&hook, 429), (&topic, 503)] {
        let answers = join_all((0..20).map(|_| post(url))).await;
        let over: Vec<_> = answers
            .into_iter()
            .filter(|it| it.status() == status)
            .collect();
        assert!(over.len() > 10, "{} of {url}", over.len());
        for answer in over {
            assert_eq!(answer.headers()["retry-after"], "1");
            let problem: serde_json::Value = answer.json().await.unwrap();
            let kind = problem["type"].as_str().unwrap();
            assert!(kind.ends_with("/quota-events-per-second"), "{kind}");
        }
    }
    wait::until("a refusal to be shown", LIMIT, || async {
        let request = ListDeliveriesRequest {
            parent: "projects/p/workflows/-".to_owned(),
            filter: "reason == \"quota-events-per-second\"".to_owned(),
            ..ListDeliveriesRequest::default()
        };
        let listed = api.deliveries().list_deliveries(request).await;
        match listed.map_err(|status| status.to_string())?.into_inner() {
            some if some.deliveries.is_empty() => Err("none".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    // Without it, at once.
    bound(&api, "p", one_key).await.unwrap();
    synced(&api).await;
    for answer in join_all((0..20).map(|_| post(&hook))).await {
        assert_eq!(answer.status(), 200);
    }
    history(&api, &hook).await;
    says_so(&planes);
}

/// The size of the history: what ended first goes, and what is asked for is refused when nothing has ended.
async fn history(api: &Api, hook: &str) {
    let mut names = Vec::new();
    for _ in 0..6 {
        let name = run(api, "p", "run").await.unwrap();
        api.execution_in(&name, ExecutionState::Succeeded).await;
        names.push(name);
    }
    let used = get(api, "p").await.unwrap().usage.unwrap();
    let used = used.history_bytes.unwrap();
    assert!(used > 6 * 50_000, "{used}");
    let waiting = run(api, "p", "waits").await.unwrap();
    api.execution_in(&waiting, ExecutionState::Waiting).await;
    let bytes = |bytes| ProjectQuotas {
        history_bytes: Some(bytes),
        ..ProjectQuotas::default()
    };
    let most = used / 2;
    bound(api, "p", bytes(most)).await.unwrap();
    wait::until("the history to be within its quota", LIMIT, || async {
        let project = get(api, "p").await.map_err(|it| it.to_string())?;
        match project.usage.unwrap().history_bytes.unwrap() {
            used if used <= most => Ok(()),
            used => Err(used.to_string()),
        }
    })
    .await;
    let gone = api.execution(&names[0]).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let newest = api.execution(&names[5]).await.unwrap();
    assert_eq!(newest.state(), ExecutionState::Succeeded);
    // There is room for a run: it is made.
    run(api, "p", "run").await.unwrap();

    bound(api, "p", bytes(1)).await.unwrap();
    wait::until("all that has ended to go", LIMIT, || async {
        let left = executions(api, "p").await.map_err(|it| it.to_string())?;
        match &left[..] {
            [one] if one.name == waiting => Ok(()),
            other => Err(format!("{} executions", other.len())),
        }
    })
    .await;
    exhausted(run(api, "p", "run").await, "quota history_bytes");
    // What comes from outside is taken, and what waits goes on to wait.
    assert_eq!(post(hook).await.status(), 200);
    let waits = api.execution(&waiting).await.unwrap();
    assert_eq!(waits.state(), ExecutionState::Waiting);
}

/// The command line shows it all.
fn says_so(planes: &Planes) {
    let shown = |arguments: &[&str]| {
        let output = Command::new(binary("signalbox"))
            .args(["--endpoint", &planes.control.endpoint])
            .args(["--token", &planes.control.token("viewer")])
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        String::from_utf8(output.stdout).unwrap()
    };
    let project = shown(&["projects", "get", "p"]);
    for line in ["workflows  4 of 4", "keys       1 of 7", "bytes"] {
        assert!(project.contains(line), "{project}");
    }
    let all = shown(&["projects", "list"]);
    assert!(all.contains("default") && all.contains("\np "), "{all}");
}
