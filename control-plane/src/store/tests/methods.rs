//! Every method that changes or reveals something, called as a client calls it: each writes its entry of the audit log.

use std::{collections::BTreeSet, time::Duration};

use prost_types::Value;
use signalbox_proto::v1::{
    api_key_service_client::ApiKeyServiceClient, audit_service_client::AuditServiceClient,
    execution_service_client::ExecutionServiceClient, node_service_client::NodeServiceClient,
    project_service_client::ProjectServiceClient, secret_service_client::SecretServiceClient,
    token_service_client::TokenServiceClient, workflow_service_client::WorkflowServiceClient,
};
use tonic::{
    Request, Status,
    service::{Routes, interceptor::InterceptedService},
};
use tower::Layer as _;

use super::*;
use crate::{
    api::Api,
    auth::{
        AuthLayer, AuthService, Authenticator, Claims, Links, METHODS, Oidc, Requirement, Role,
        Tokens,
    },
};

const KEY: &str = "projects/default/apiKeys/k";
const SECRET: &str = "projects/default/secrets/s";
const WORKFLOW: &str = "projects/default/workflows/w";
const OTHER: &str = "projects/another";
const SECRET_VALUE: &str = "hunter22-hunter22";

type Service = InterceptedService<AuthService<Routes>, Bearer>;

#[derive(Clone)]
struct Bearer(String);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = format!("Bearer {}", self.0).parse().unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

struct World {
    app: App,
    tokens: Tokens,
    _dir: tempfile::TempDir,
    sequence: std::cell::Cell<u64>,
    covered: BTreeSet<&'static str>,
    /// The newest entry that was seen: of the project, of the installation, and of another project.
    seen: [i64; 3],
}

impl World {
    async fn new(store: Store) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = signalbox_runtime::data_dir::DataDir::open(dir.path().join("d")).unwrap();
        let tokens = Tokens::open(store.clone(), Arc::new(data), false).await;
        Self {
            app: app(store),
            tokens: tokens.unwrap(),
            _dir: dir,
            sequence: 0.into(),
            covered: BTreeSet::new(),
            seen: [0, 0, 0],
        }
    }

    fn service_as(&self, place: &str, role: Role) -> Service {
        let own = self.tokens.clone();
        let url = Some("https://box.example.com".into());
        let links = Links::new(own.clone(), self.app.store().clone(), url);
        let routes = Api::new(self.app.clone(), links, own.clone()).routes();
        let claims = Claims::new("ann", place, role, Duration::from_secs(600));
        let token = own.mint(&claims).unwrap();
        let authenticator = Arc::new(Authenticator::new(own, Oidc::default()));
        let authed = AuthLayer::new(authenticator).layer(routes);
        InterceptedService::new(authed, Bearer(token))
    }

    fn service(&self) -> Service {
        self.service_as("projects/default", Role::Admin)
    }

    /// For what is of the installation.
    fn service_of_all(&self) -> Service {
        self.service_as("*", Role::Admin)
    }

    async fn apply(&self, body: RecordBody) {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        let records = [record(sequence, body)];
        self.app
            .apply_records(&node("n1"), "i", &records, sequence, decode_any)
            .await
            .unwrap();
    }

    async fn list(
        &self,
        parent: &str,
        service: Service,
    ) -> Result<v1::ListAuditEntriesResponse, Status> {
        let request = v1::ListAuditEntriesRequest {
            parent: parent.to_owned(),
            ..Default::default()
        };
        let listed = AuditServiceClient::new(service)
            .list_audit_entries(request)
            .await;
        listed.map(tonic::Response::into_inner)
    }

    /// `method` was called just now: there is one entry more, which says so.
    async fn noted(&mut self, method: &'static str, resource: &str) -> Vec<String> {
        let (parent, service, of) = match resource {
            OTHER => (OTHER, self.service_of_all(), 2),
            of if of.starts_with("projects/") => ("projects/default", self.service(), 0),
            _ => ("", self.service_of_all(), 1),
        };
        let listed = self.list(parent, service).await.unwrap();
        let newest = &listed.audit_entries[0];
        assert_eq!(
            newest.sequence,
            self.seen[of] + 1,
            "{method} writes one entry: {newest:?}"
        );
        assert_eq!(listed.head_sequence, newest.sequence);
        assert_eq!(listed.head_hash, newest.hash);
        let action = method.rsplit('/').next().unwrap();
        let said = (
            newest.actor.as_str(),
            newest.action.as_str(),
            newest.resource.as_str(),
        );
        assert_eq!(said, ("ann", action, resource));
        assert!(METHODS.iter().any(|(path, _)| *path == method), "{method}");
        self.seen[of] = newest.sequence;
        self.covered.insert(method);
        let changes = newest.changes.iter();
        changes
            .map(|it| {
                let shown = |json: &Option<String>| json.clone().unwrap_or_default();
                format!(
                    "{}: {} → {}",
                    it.field,
                    shown(&it.before_json),
                    shown(&it.after_json)
                )
            })
            .collect()
    }
}

/// Whether a method of the table changes or reveals something.
fn is_audited(path: &str, requirement: Requirement) -> bool {
    let method = path.rsplit('/').next().unwrap();
    let reads = ["Get", "List", "Watch", "Validate"];
    let is_people_s = !matches!(requirement, Requirement::Node | Requirement::Proof);
    is_people_s && !reads.iter().any(|verb| method.starts_with(verb))
}

#[tokio::test]
async fn every_method_that_changes_or_reveals_something_is_noted() {
    each_database(async |store| {
        let mut world = World::new(store).await;
        let value = keys_and_secrets(&mut world).await;
        workflows(&mut world).await;
        executions(&mut world).await;
        the_rest(&mut world).await;
        nodes(&mut world).await;
        the_end(&mut world).await;

        let audited = METHODS
            .iter()
            .filter(|(path, requirement)| is_audited(path, *requirement));
        let audited: BTreeSet<_> = audited.map(|(path, _)| *path).collect();
        assert_eq!(
            world.covered, audited,
            "each method that changes something is called above"
        );

        let admin = world
            .list("projects/default", world.service())
            .await
            .unwrap();
        let text = format!("{admin:?}");
        for secret in [value.as_str(), SECRET_VALUE, "eyJ"] {
            assert!(!text.contains(secret), "{secret}");
        }
        for (place, role, parent) in [
            ("projects/default", Role::Editor, "projects/default"),
            ("projects/other", Role::Admin, "projects/default"),
            // What belongs to no project is for those who may everything.
            ("projects/default", Role::Admin, ""),
            ("*", Role::Editor, ""),
        ] {
            let refused = world.list(parent, world.service_as(place, role)).await;
            assert_eq!(refused.unwrap_err().code(), tonic::Code::PermissionDenied);
        }
        let nothing = world
            .list("", world.service_as("*", Role::Admin))
            .await
            .unwrap();
        assert_eq!(nothing.head_sequence, world.seen[1]);
        assert_eq!(
            world.seen[1], 7,
            "the signing key, a token, and what is done with nodes"
        );
    })
    .await;
}

async fn keys_and_secrets(world: &mut World) -> String {
    let mut keys = ApiKeyServiceClient::new(world.service());
    let create = v1::CreateApiKeyRequest {
        parent: "projects/default".into(),
        api_key_id: "k".into(),
        api_key: Some(v1::ApiKey {
            display_name: "One".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let value = keys
        .create_api_key(create)
        .await
        .unwrap()
        .into_inner()
        .value;
    let changes = world
        .noted("/signalbox.v1.ApiKeyService/CreateApiKey", KEY)
        .await;
    assert_eq!(changes, ["displayName:  → \"One\""]);

    let update = v1::UpdateApiKeyRequest {
        api_key: Some(v1::ApiKey {
            name: KEY.into(),
            display_name: "Two".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    keys.update_api_key(update.clone()).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ApiKeyService/UpdateApiKey", KEY)
        .await;
    assert_eq!(changes, ["displayName: \"One\" → \"Two\""]);
    // What changes nothing is nothing that was done.
    keys.update_api_key(update).await.unwrap();

    let reveal = v1::RevealApiKeyRequest { name: KEY.into() };
    keys.reveal_api_key(reveal).await.unwrap();
    world
        .noted("/signalbox.v1.ApiKeyService/RevealApiKey", KEY)
        .await;

    let rotate = v1::RotateApiKeyRequest {
        name: KEY.into(),
        ..Default::default()
    };
    let rotated = keys.rotate_api_key(rotate).await.unwrap().into_inner();
    assert_ne!(rotated.value, value);
    let changes = world
        .noted("/signalbox.v1.ApiKeyService/RotateApiKey", KEY)
        .await;
    assert_eq!(changes.len(), 3, "{changes:?}");
    assert!(
        changes[0].starts_with("previousExpireTime:  → \"2"),
        "{changes:?}"
    );
    assert!(changes[1].starts_with("rotateTime:  → \"2"), "{changes:?}");
    assert_eq!(changes[2], "value: \"***\" → \"***\"");
    let value = rotated.value;

    let mut secrets = SecretServiceClient::new(world.service());
    let secret = |name: &str| {
        Some(v1::Secret {
            name: name.to_owned(),
            value: SECRET_VALUE.as_bytes().to_vec().into(),
            ..Default::default()
        })
    };
    let create = v1::CreateSecretRequest {
        parent: "projects/default".into(),
        secret_id: "s".into(),
        secret: secret(""),
    };
    secrets.create_secret(create).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.SecretService/CreateSecret", SECRET)
        .await;
    assert_eq!(changes, ["value:  → \"***\""]);
    let update = v1::UpdateSecretRequest {
        secret: secret(SECRET),
    };
    secrets.update_secret(update).await.unwrap();
    world
        .noted("/signalbox.v1.SecretService/UpdateSecret", SECRET)
        .await;
    value
}

fn definition_of(expression: &str) -> Option<v1::Workflow> {
    let yaml = format!(
        "trigger: {{manual: {{}}}}\nsteps: [{{id: a, transform: {{expression: \"{expression}\"}}}}]"
    );
    Some(v1::Workflow {
        name: WORKFLOW.into(),
        spec: Some(json::from_yaml_str(&yaml).unwrap()),
        ..Default::default()
    })
}

async fn workflows(world: &mut World) {
    let mut workflows = WorkflowServiceClient::new(world.service());
    let create = v1::CreateWorkflowRequest {
        parent: "projects/default".into(),
        workflow_id: "w".into(),
        workflow: definition_of("1"),
        publish: true,
        ..Default::default()
    };
    workflows.create_workflow(create).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.WorkflowService/CreateWorkflow", WORKFLOW)
        .await;
    let expression = "spec.steps[0].transform.expression".to_owned();
    assert!(
        changes.contains(&format!("{expression}:  → \"1\"")),
        "{changes:?}"
    );

    let update = v1::UpdateWorkflowRequest {
        workflow: definition_of("2"),
        ..Default::default()
    };
    workflows.update_workflow(update).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.WorkflowService/UpdateWorkflow", WORKFLOW)
        .await;
    assert_eq!(
        changes,
        [
            "latestVersion: 1 → 2".to_owned(),
            format!("{expression}: \"1\" → \"2\"")
        ]
    );

    let publish = v1::PublishWorkflowRequest {
        name: WORKFLOW.into(),
        ..Default::default()
    };
    workflows.publish_workflow(publish).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.WorkflowService/PublishWorkflow", WORKFLOW)
        .await;
    assert_eq!(changes, ["publishedVersion: 1 → 2"]);

    let disable = v1::DisableWorkflowRequest {
        name: WORKFLOW.into(),
        ..Default::default()
    };
    workflows.disable_workflow(disable).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.WorkflowService/DisableWorkflow", WORKFLOW)
        .await;
    assert_eq!(changes, ["enabled: true → false"]);
    let enable = v1::EnableWorkflowRequest {
        name: WORKFLOW.into(),
        ..Default::default()
    };
    workflows.enable_workflow(enable).await.unwrap();
    world
        .noted("/signalbox.v1.WorkflowService/EnableWorkflow", WORKFLOW)
        .await;
}

async fn executions(world: &mut World) {
    let mut workflows = WorkflowServiceClient::new(world.service());
    let mut executions = ExecutionServiceClient::new(world.service());
    let run = v1::RunWorkflowRequest {
        name: WORKFLOW.into(),
        input: Some(Value::from(1.0)),
        ..Default::default()
    };
    let run = workflows.run_workflow(run).await.unwrap().into_inner().name;
    let changes = world
        .noted("/signalbox.v1.WorkflowService/RunWorkflow", &run)
        .await;
    assert_eq!(
        changes,
        [
            format!("workflow:  → \"{WORKFLOW}\""),
            "workflowVersion:  → 2".to_owned()
        ]
    );
    let cancel = v1::CancelExecutionRequest {
        name: run.clone(),
        force: false,
    };
    executions.cancel_execution(cancel).await.unwrap();
    world
        .noted("/signalbox.v1.ExecutionService/CancelExecution", &run)
        .await;

    for body in whole_execution("x1") {
        world.apply(body).await;
    }
    let retry = v1::RetryExecutionRequest {
        name: "projects/default/executions/x1".into(),
        mode: v1::RetryMode::Whole.into(),
        ..Default::default()
    };
    let retried = executions
        .retry_execution(retry)
        .await
        .unwrap()
        .into_inner()
        .name;
    world
        .noted("/signalbox.v1.ExecutionService/RetryExecution", &retried)
        .await;

    let asking = "projects/default/executions/x2";
    let input =
        serde_json::json!({"message": "?", "approvers": [], "deadline": "2999-01-01T00:00:00Z"});
    let ask = Fact::StepStarted {
        step: "ask".parse().unwrap(),
        kind: "approval".to_owned(),
        input: JsonText::from_value(&input),
    };
    for body in [accepted("x2"), fact("x2", Fact::Started), fact("x2", ask)] {
        world.apply(body).await;
    }
    let links = v1::CreateApprovalLinksRequest {
        name: asking.into(),
        step: String::new(),
        label: "bob".into(),
    };
    executions.create_approval_links(links).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ExecutionService/CreateApprovalLinks", asking)
        .await;
    assert_eq!(changes, ["label:  → \"bob\"", "step:  → \"ask\""]);
    let decide = v1::SignalExecutionRequest {
        name: asking.into(),
        kind: Some(v1::signal_execution_request::Kind::Decision(
            v1::ApprovalDecision {
                step: "ask".into(),
                verdict: v1::ApprovalVerdict::Approved.into(),
                comment: "go".into(),
            },
        )),
        ..Default::default()
    };
    executions.signal_execution(decide).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ExecutionService/SignalExecution", asking)
        .await;
    assert_eq!(changes, ["decision:  → \"APPROVED\"", "step:  → \"ask\""]);
}

/// Of a project as a whole, and of the installation.
async fn the_rest(world: &mut World) {
    let project = v1::Project {
        name: "projects/default".into(),
        history_retention: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..Default::default()
    };
    let update = v1::UpdateProjectRequest {
        project: Some(project),
        update_mask: None,
    };
    let mut projects = ProjectServiceClient::new(world.service());
    projects.update_project(update).await.unwrap();
    let changes = world
        .noted(
            "/signalbox.v1.ProjectService/UpdateProject",
            "projects/default",
        )
        .await;
    assert_eq!(changes, ["historyRetention:  → \"60s\""]);
    of_another_project(world).await;

    let mut tokens = TokenServiceClient::new(world.service_of_all());
    let revoke = v1::RevokeTokenRequest {
        token_id: "t1".into(),
        reason: "lost".into(),
        ..Default::default()
    };
    tokens.revoke_token(revoke).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.TokenService/RevokeToken", "revokedTokens/t1")
        .await;
    assert_eq!(changes, ["reason:  → \"lost\""]);
    let rotate = v1::RotateSigningKeyRequest::default();
    let key = tokens
        .rotate_signing_key(rotate)
        .await
        .unwrap()
        .into_inner();
    let name = format!("signingKeys/{}", key.key_id);
    world
        .noted("/signalbox.v1.TokenService/RotateSigningKey", &name)
        .await;
}

async fn of_another_project(world: &mut World) {
    let mut projects = ProjectServiceClient::new(world.service_of_all());
    let create = v1::CreateProjectRequest {
        project_id: "another".into(),
        project: Some(v1::Project {
            display_name: "Another".into(),
            quotas: Some(v1::ProjectQuotas {
                workflows: Some(3),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    projects.create_project(create).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ProjectService/CreateProject", OTHER)
        .await;
    assert_eq!(
        changes,
        ["displayName:  → \"Another\"", "quotas.workflows:  → 3"]
    );
    let create = v1::CreateSecretRequest {
        parent: OTHER.into(),
        secret_id: "s".into(),
        secret: Some(v1::Secret {
            value: SECRET_VALUE.as_bytes().to_vec().into(),
            ..Default::default()
        }),
    };
    let mut secrets = SecretServiceClient::new(world.service_of_all());
    secrets.create_secret(create).await.unwrap();
    world.seen[2] += 1;
    let delete = v1::DeleteProjectRequest {
        name: OTHER.into(),
        force: true,
        ..Default::default()
    };
    projects.delete_project(delete).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ProjectService/DeleteProject", OTHER)
        .await;
    assert_eq!(
        changes,
        [
            "displayName: \"Another\" → ",
            "had.secrets: 1 → ",
            "quotas.workflows: 3 → "
        ]
    );
}

async fn nodes(world: &mut World) {
    let mut nodes = NodeServiceClient::new(world.service_of_all());
    let create = v1::CreateEnrollmentTokenRequest {
        node: "nodes/n1".into(),
        display_name: "One".into(),
        ttl: None,
    };
    let mut secrets = Vec::new();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let created = nodes.create_enrollment_token(create.clone()).await.unwrap();
        let created = created.into_inner();
        let token = created.enrollment_token.unwrap().name;
        let changes = world
            .noted("/signalbox.v1.NodeService/CreateEnrollmentToken", &token)
            .await;
        assert_eq!(changes, ["ttl:  → \"3600s\"", "node:  → \"nodes/n1\""]);
        secrets.push(created.secret);
        tokens.push(token);
    }
    let delete = v1::DeleteEnrollmentTokenRequest {
        name: tokens[1].clone(),
    };
    nodes.delete_enrollment_token(delete).await.unwrap();
    world
        .noted(
            "/signalbox.v1.NodeService/DeleteEnrollmentToken",
            &tokens[1],
        )
        .await;
    super::enrollment::Key::new("n1")
        .enroll(&world.tokens, &secrets[0])
        .await
        .unwrap();
    // By the token, which has its own entry.
    world.seen[1] += 1;
    let revoke = v1::RevokeNodeRequest {
        name: "nodes/n1".into(),
    };
    for _ in 0..2 {
        nodes.revoke_node(revoke.clone()).await.unwrap();
    }
    let changes = world
        .noted("/signalbox.v1.NodeService/RevokeNode", "nodes/n1")
        .await;
    assert!(
        changes[0].starts_with("revokedIdentity:  → \"i"),
        "{changes:?}"
    );
}

async fn the_end(world: &mut World) {
    let mut keys = ApiKeyServiceClient::new(world.service());
    let revoke = v1::RevokeApiKeyRequest {
        name: KEY.into(),
        ..Default::default()
    };
    keys.revoke_api_key(revoke).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ApiKeyService/RevokeApiKey", KEY)
        .await;
    assert!(changes[0].starts_with("revokeTime:  → \"2"), "{changes:?}");
    let delete = v1::DeleteApiKeyRequest {
        name: KEY.into(),
        ..Default::default()
    };
    keys.delete_api_key(delete).await.unwrap();
    world
        .noted("/signalbox.v1.ApiKeyService/DeleteApiKey", KEY)
        .await;
    let undelete = v1::UndeleteApiKeyRequest {
        name: KEY.into(),
        ..Default::default()
    };
    keys.undelete_api_key(undelete).await.unwrap();
    world
        .noted("/signalbox.v1.ApiKeyService/UndeleteApiKey", KEY)
        .await;
    let purge = v1::DeleteApiKeyRequest {
        name: KEY.into(),
        purge: true,
        ..Default::default()
    };
    keys.delete_api_key(purge).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.ApiKeyService/DeleteApiKey", KEY)
        .await;
    assert!(
        changes.contains(&"purged:  → true".to_owned()),
        "{changes:?}"
    );
    assert!(changes.len() > 1, "as it was: {changes:?}");
    let delete = v1::DeleteWorkflowRequest {
        name: WORKFLOW.into(),
        ..Default::default()
    };
    let mut workflows = WorkflowServiceClient::new(world.service());
    workflows.delete_workflow(delete).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.WorkflowService/DeleteWorkflow", WORKFLOW)
        .await;
    let gone = "spec.steps[0].transform.expression: \"2\" → ".to_owned();
    assert!(changes.contains(&gone), "{changes:?}");
    let undelete = v1::UndeleteWorkflowRequest {
        name: WORKFLOW.into(),
        ..Default::default()
    };
    workflows.undelete_workflow(undelete).await.unwrap();
    let changes = world
        .noted("/signalbox.v1.WorkflowService/UndeleteWorkflow", WORKFLOW)
        .await;
    let back = "spec.steps[0].transform.expression:  → \"2\"".to_owned();
    assert!(changes.contains(&back), "{changes:?}");
    let delete = v1::DeleteSecretRequest {
        name: SECRET.into(),
        ..Default::default()
    };
    let mut secrets = SecretServiceClient::new(world.service());
    secrets.delete_secret(delete).await.unwrap();
    world
        .noted("/signalbox.v1.SecretService/DeleteSecret", SECRET)
        .await;
}
