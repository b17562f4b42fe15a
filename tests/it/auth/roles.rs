//! Every method by every role, over the wire: what docs/roles.md says.
//!
//! `SIGNALBOX_BLESS=1` writes that file anew. The roles that the .proto files name must be the same.

use std::{collections::BTreeMap, fmt::Write as _, fs};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, prost::Message as _};
use serde_json::{Value, json};
use signalbox_tests::{
    planes::{Options, Planes},
    process::root,
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

const FILE: &str = "docs/roles.md";
const ROLES: [&str; 5] = ["viewer", "operator", "editor", "admin", "data-plane"];

/// Messages as their bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Where a method's role must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the project that the request is about.
    Project,
    /// In any project.
    Any,
    /// In all projects.
    All,
    /// Nowhere: no token is needed.
    Nowhere,
}

/// A request about `projects/default` that gets as far as the check of the role, and beyond it harms nobody.
pub(crate) fn request(method: &MethodDescriptor) -> (Place, Value) {
    let project = |request| (Place::Project, request);
    let name = |name: &str| project(json!({"name": format!("projects/default/{name}")}));
    let service = method.parent_service().name().to_owned();
    match (service.as_str(), method.name()) {
        (_, "CreateApiKey") => project(json!({"parent": "projects/default", "apiKeyId": "X"})),
        (_, "CreateSecret") => project(json!({"parent": "projects/default", "secretId": "X"})),
        (_, "CreateWorkflow") => project(json!({"parent": "projects/default", "workflowId": "X"})),
        (_, "UpdateApiKey") => project(json!({"apiKey": {"name": "projects/default/apiKeys/x"}})),
        (_, "UpdateSecret") => project(json!({"secret": {"name": "projects/default/secrets/x"}})),
        (_, "UpdateWorkflow") => {
            project(json!({"workflow": {"name": "projects/default/workflows/x"}}))
        }
        (
            _,
            "ListApiKeys" | "ListSecrets" | "ListWorkflows" | "ListExecutions" | "WatchExecutions"
            | "ValidateWorkflow",
        ) => project(json!({"parent": "projects/default"})),
        (_, "ListDeliveries" | "ListSubscriptions" | "ListWorkflowVersions") => {
            project(json!({"parent": "projects/default/workflows/x"}))
        }
        (_, "GetExecutionEvent") => name("executions/x/event"),
        (_, "SignalExecution") => {
            project(json!({"name": "projects/default/executions/x", "signal": {"name": "s"}}))
        }
        ("ApiKeyService", _) => name("apiKeys/x"),
        ("WorkflowService", _) => name("workflows/x"),
        ("ExecutionService", _) => name("executions/x"),
        ("SecretService", _) => name("secrets/x"),
        ("SubscriptionService", _) => name("workflows/x/subscriptions/x"),
        ("ProjectService", "GetProject") => project(json!({"name": "projects/default"})),
        ("ProjectService", "CreateProject") => (Place::All, json!({"projectId": "X"})),
        ("ProjectService", "DeleteProject") => (Place::All, json!({"name": "projects/default"})),
        ("ProjectService", "ListProjects") => (Place::Any, json!({})),
        ("ProjectService", _) => {
            project(json!({"project": {"name": "projects/default", "historyRetention": "0s"}}))
        }
        ("AuditService", _) => project(json!({"parent": "projects/default"})),
        ("NodeService", "GetNode") => (Place::Any, json!({"name": "nodes/x"})),
        ("NodeService", "ListNodes") => (Place::Any, json!({})),
        // A node that cannot be: nothing comes of it.
        ("NodeService", "CreateEnrollmentToken") => (Place::All, json!({"node": "nodes/X"})),
        ("NodeService", "DeleteEnrollmentToken") => {
            (Place::All, json!({"name": "enrollmentTokens/x"}))
        }
        ("NodeService", "RevokeNode") => (Place::All, json!({"name": "nodes/x"})),
        ("NodeService", "ListEnrollmentTokens") => (Place::All, json!({})),
        ("SyncService" | "ReportService", _) => (Place::Any, json!({})),
        // Without all that it takes to be looked at.
        ("EnrollmentService", _) => (Place::Nowhere, json!({})),
        ("TokenService", _) => (Place::All, json!({})),
        (service, method) => panic!("{service}/{method} has no request here: say how to call it"),
    }
}

pub(crate) fn bytes(method: &MethodDescriptor, request: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(method.input(), request)
        .unwrap_or_else(|error| panic!("{}: {error}", method.full_name()))
        .encode_to_vec()
}

/// Whether a call gets past the check of its token and role.
async fn may(channel: &Channel, path: &str, token: &str, message: Vec<u8>) -> bool {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    // One message, whether the method is called with one or with a stream of them.
    let mut request = Request::new(tokio_stream::once(message));
    if !token.is_empty() {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    let path: PathAndQuery = path.parse().unwrap();
    match grpc.streaming(request, path, Raw).await {
        Ok(_) => true,
        Err(status) => match status.code() {
            Code::PermissionDenied | Code::Unauthenticated => false,
            Code::InvalidArgument | Code::NotFound | Code::FailedPrecondition => true,
            _ => panic!("{status:?}"),
        },
    }
}

/// The role that a method's comment in its .proto file names.
pub(crate) fn said() -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    for folder in ["signalbox/v1", "signalbox/dataplane/v1"] {
        for file in fs::read_dir(root().join("proto").join(folder)).unwrap() {
            let text = fs::read_to_string(file.unwrap().path()).unwrap();
            let mut comment = String::new();
            for line in text.lines().map(str::trim) {
                if let Some(more) = line.strip_prefix("//") {
                    comment.push_str(more);
                } else if let Some(rpc) = line.strip_prefix("rpc ") {
                    let method = rpc.split('(').next().unwrap().to_owned();
                    let role = comment.rsplit_once("Role: ").map(|(_, role)| role);
                    let role = role.map(|role| role.split([',', '.']).next().unwrap());
                    // Nodes' services say so as a whole.
                    said.insert(method, role.unwrap_or("data-plane").to_owned());
                    comment.clear();
                } else {
                    comment.clear();
                }
            }
        }
    }
    said
}

fn expected(least: &str, role: &str) -> bool {
    let rank = |role: &str| ROLES.iter().position(|other| *other == role).unwrap();
    match (least, role) {
        // Whoever calls: no token is looked at.
        ("none", _) => true,
        ("data-plane", _) | (_, "data-plane") => least == role,
        _ => rank(role) >= rank(least),
    }
}

fn table(rows: &[(String, Place, [bool; 5])]) -> String {
    let mut text = "# Roles\n\nWhich role may call which method, tried over the wire by `tests/it/auth/roles.rs`, which writes this file \
                    (`SIGNALBOX_BLESS=1`).\n\n| method | in | viewer | operator | editor | admin | data-plane |\n\
                    | --- | --- | :-: | :-: | :-: | :-: | :-: |\n"
        .to_owned();
    for (method, place, may) in rows {
        let place = match place {
            Place::Project => "the project",
            Place::Any => "any project",
            Place::All => "all projects",
            Place::Nowhere => "no token needed",
        };
        let cells = may.map(|may| if may { "yes" } else { "" }).join(" | ");
        writeln!(text, "| {method} | {place} | {cells} |").unwrap();
    }
    text.push_str("\nProjectService.UpdateProject writes a project's quotas for an admin of all projects only.\n");
    text
}

/// Whoever is bounded by quotas must not set them.
async fn quotas_are_for_admins_of_all_projects(
    channel: &Channel,
    method: &MethodDescriptor,
    (all, own): (&[String; 5], &[String; 5]),
) {
    let quotas = json!({"workflows": "-1"});
    let request = json!({"project": {"name": "projects/default", "quotas": quotas}});
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let message = bytes(method, &request);
    for (index, role) in ROLES.into_iter().enumerate() {
        let may_all = may(channel, &path, &all[index], message.clone()).await;
        assert_eq!(may_all, role == "admin", "{role}");
        assert!(
            !may(channel, &path, &own[index], message.clone()).await,
            "{role}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_by_every_role() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let endpoint = Endpoint::from_shared(planes.control.endpoint.clone()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let tokens = |project: &str| ROLES.map(|role| planes.control.token_in(project, role));
    let (all, own, other) = (tokens("*"), tokens("default"), tokens("other"));
    let pool = DescriptorPool::decode(signalbox_proto::DESCRIPTORS).unwrap();
    let said = said();
    let mut rows = Vec::new();
    let methods: Vec<_> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    for method in methods {
        let service = method.parent_service();
        let path = format!("/{}/{}", service.full_name(), method.name());
        let (place, request) = request(&method);
        if method.name() == "UpdateProject" {
            quotas_are_for_admins_of_all_projects(&channel, &method, (&all, &own)).await;
        }
        let message = bytes(&method, &request);
        let call = async |token: &str| may(&channel, &path, token, message.clone()).await;
        assert_eq!(
            call("").await,
            place == Place::Nowhere,
            "{path} without a token"
        );
        let mut row = [false; 5];
        for (index, role) in ROLES.into_iter().enumerate() {
            let may = call(&all[index]).await;
            assert_eq!(
                may,
                expected(&said[method.name()], role),
                "{path} by {role}"
            );
            let in_own = may && place != Place::All;
            assert_eq!(
                call(&own[index]).await,
                in_own,
                "{path} by {role} of the project"
            );
            let in_other = may && matches!(place, Place::Any | Place::Nowhere);
            assert_eq!(
                call(&other[index]).await,
                in_other,
                "{path} by {role} of another"
            );
            row[index] = may;
        }
        rows.push((format!("{}.{}", service.name(), method.name()), place, row));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let text = table(&rows);
    let file = root().join(FILE);
    if std::env::var_os("SIGNALBOX_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let current = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        current == text,
        "{FILE} is stale: run this test with SIGNALBOX_BLESS=1"
    );
}
