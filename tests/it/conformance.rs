//! Each method of the API, over the wire: without a token, with a role that is too low, about what does not exist, and with each
//! part of its request wrong in turn. The answer has the code that it must have, and google.rpc details (AIP-193). Methods and
//! fields are those of the descriptors; what is not tried stands in the one table of exemptions, with the reason.

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, MethodDescriptor};
use serde_json::{Value, json};
use signalbox_proto::convert::status::ApiError;
use signalbox_tests::planes::{Options, Planes};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};

use crate::auth::roles::{Raw, bytes, request, said};

/// The protocol between the planes has errors of its own; its roles are tried with the others'.
const PUBLIC: &str = "signalbox.v1";

/// What a method is not tried with, and why.
const EXEMPT: &[(&str, &str, &str)] = &[
    ("ListApiKeys", "missing", "a project that is none has none"),
    ("ListSecrets", "missing", "a project that is none has none"),
    (
        "ListWorkflows",
        "missing",
        "a project that is none has none",
    ),
    (
        "ListExecutions",
        "missing",
        "a project that is none has none",
    ),
    (
        "WatchExecutions",
        "missing",
        "a project that is none has none",
    ),
    (
        "ListDeliveries",
        "missing",
        "those of a workflow outlive it",
    ),
    (
        "ListSubscriptions",
        "missing",
        "those of a workflow outlive it",
    ),
    (
        "ListAuditEntries",
        "missing",
        "those of a project outlive it",
    ),
    (
        "ListNodes",
        "missing",
        "it is about nothing that could be missing",
    ),
    (
        "ListRevokedTokens",
        "missing",
        "it is about nothing that could be missing",
    ),
    (
        "ListSigningKeys",
        "missing",
        "it is about nothing that could be missing",
    ),
    (
        "RotateSigningKey",
        "missing",
        "it is about nothing that could be missing",
    ),
    (
        "RevokeToken",
        "missing",
        "a token is not known before it is revoked",
    ),
    (
        "CreateEnrollmentToken",
        "missing",
        "a node is not known before it enrolls",
    ),
    (
        "ListEnrollmentTokens",
        "missing",
        "it is about nothing that could be missing",
    ),
    (
        "CreateProject",
        "missing",
        "it is about nothing that could be missing",
    ),
    (
        "ListProjects",
        "missing",
        "it is about nothing that could be missing",
    ),
    ("ListSigningKeys", "wrong", "its request has no field"),
];

fn is_exempt(method: &MethodDescriptor, from: &str) -> bool {
    EXEMPT
        .iter()
        .any(|(name, of, _)| (*name, *of) == (method.name(), from))
}

/// What the method says to a request: nothing, when it has none to complain of.
async fn complaint(
    channel: &Channel,
    method: &MethodDescriptor,
    token: &str,
    asked: &Value,
) -> Option<Status> {
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let mut request = Request::new(tokio_stream::once(bytes(method, asked)));
    if !token.is_empty() {
        let bearer = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    let service = method.parent_service();
    let path = format!("/{}/{}", service.full_name(), method.name());
    let path: PathAndQuery = path.parse().unwrap();
    let stream = match grpc.streaming(request, path, Raw).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Some(status),
    };
    let mut stream = stream;
    // One that watches, and has nothing to complain of, goes on for ever.
    let first = tokio::time::timeout(std::time::Duration::from_secs(5), stream.message());
    match first.await {
        Ok(Err(status)) => Some(status),
        Ok(Ok(_)) | Err(_) => None,
    }
}

/// The code, and what AIP-193 asks for beside it.
fn says(status: Option<Status>, code: Code) -> Result<ApiError, String> {
    let status = status.ok_or("was answered")?;
    let text = format!("{status:?}");
    let error = ApiError::from(status);
    if error.code != code {
        return Err(format!("is {:?}: {}", error.code, error.message));
    }
    let has_reason = error.reason.as_ref().is_some_and(|reason| {
        !reason.is_empty()
            && reason
                .chars()
                .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    });
    if !has_reason {
        return Err(format!(
            "has no ErrorInfo with an UPPER_SNAKE_CASE reason: {text}"
        ));
    }
    if error.message.is_empty() {
        return Err("has no message".to_owned());
    }
    Ok(error)
}

const SPEC: &str = r#"{"trigger": {"manual": {}}, "steps": [{"id": "done", "succeed": {}}]}"#;

/// A request that is right in itself, about something that there is not.
fn complete(method: &MethodDescriptor) -> Value {
    let spec: Value = serde_json::from_str(SPEC).unwrap();
    let (_, mut asked) = request(method);
    let more = match method.name() {
        "CreateApiKey" => json!({"parent": "projects/nowhere", "apiKeyId": "x", "apiKey": {}}),
        "CreateSecret" => json!({
            "parent": "projects/nowhere", "secretId": "x", "secret": {"value": "aHVudGVyMjItaHVudGVyMjI="},
        }),
        "CreateWorkflow" => json!({
            "parent": "projects/nowhere", "workflowId": "x", "workflow": {"spec": spec},
        }),
        "UpdateApiKey" => {
            json!({"apiKey": {"name": "projects/default/apiKeys/x", "displayName": "X"}})
        }
        "UpdateSecret" => json!({
            "secret": {"name": "projects/default/secrets/x", "value": "aHVudGVyMjItaHVudGVyMjI="},
        }),
        "UpdateWorkflow" => {
            json!({"workflow": {"name": "projects/default/workflows/x", "spec": spec}})
        }
        "ValidateWorkflow" => json!({"parent": "projects/nowhere", "spec": spec}),
        "UpdateProject" => {
            json!({"project": {"name": "projects/nowhere", "historyRetention": "60s"}})
        }
        "GetProject" | "DeleteProject" => json!({"name": "projects/nowhere"}),
        "CreateProject" => json!({"projectId": "x", "project": {}}),
        "CreateEnrollmentToken" => json!({"node": "nodes/x"}),
        "RetryExecution" => json!({"mode": "RETRY_MODE_WHOLE"}),
        "CreateApprovalLinks" => json!({"label": "ann"}),
        _ => json!({}),
    };
    let fields = asked.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    asked
}

/// Each part of a request that can be wrong, wrong: the request, and the field that the answer must name.
fn wrong(method: &MethodDescriptor) -> Vec<(Value, String)> {
    const NONSENSE: &str = "(nonsense";
    let right = complete(method);
    let with = |field: &str, value: Value| {
        let mut asked = right.clone();
        asked[field] = value;
        asked
    };
    let mut all = Vec::new();
    for field in method.input().fields() {
        let name = field.name();
        let value = match (name, field.kind()) {
            ("page_size", Kind::Int32) => json!(-1),
            ("count", Kind::Int32) => json!(-1),
            (
                "name" | "node" | "parent" | "page_token" | "watch_token" | "filter" | "order_by"
                | "request_id",
                Kind::String,
            ) => json!(NONSENSE),
            (id, Kind::String) if id.ends_with("_id") && id != "token_id" => json!(NONSENSE),
            ("update_mask", _) => json!("nonsense"),
            ("overlap", _) => json!("-1s"),
            (_, Kind::Message(of)) if of.get_field_by_name("name").is_some() => {
                if method.name().starts_with("Update") {
                    let mut nested = right[field.json_name()].clone();
                    nested["name"] = json!(NONSENSE);
                    all.push((with(field.json_name(), nested), format!("{name}.name")));
                }
                continue;
            }
            _ => continue,
        };
        all.push((with(field.json_name(), value), name.to_owned()));
    }
    if method.name() == "RevokeToken" {
        all.push((json!({}), "token_id".to_owned()));
    }
    all
}

/// Whether a path such as `api_key.labels["a"]` begins with a field of the message.
fn begins_in(path: &str, message: &MessageDescriptor) -> bool {
    let first = path.split(['.', '[']).next().unwrap_or_default();
    message.get_field_by_name(first).is_some()
}

struct World {
    channel: Channel,
    admin: String,
    problems: Vec<String>,
    tried: usize,
}

impl World {
    fn note(&mut self, method: &MethodDescriptor, what: &str, found: Result<(), String>) {
        self.tried += 1;
        if let Err(problem) = found {
            let problem = format!("{}: {what}: {problem}", method.name());
            self.problems.push(problem);
        }
    }

    async fn refused(&mut self, method: &MethodDescriptor, token: &str, code: Code) {
        let status = complaint(&self.channel, method, token, &complete(method)).await;
        let found = says(status, code).map(drop);
        self.note(method, &format!("must be {code:?}"), found);
    }

    async fn missing(&mut self, method: &MethodDescriptor) {
        let asked = complete(method);
        let status = complaint(&self.channel, method, &self.admin, &asked).await;
        let found = match says(status, Code::NotFound) {
            Ok(error) if error.resource.is_none() => Err("names no resource".to_owned()),
            other => other.map(drop),
        };
        // What is exempt and needs not to be is no exemption.
        let found = match (found, is_exempt(method, "missing")) {
            (Err(_), true) => Ok(()),
            (Ok(()), true) => Err("is exempt without need".to_owned()),
            (found, false) => found,
        };
        self.note(method, &format!("about what is missing, {asked}"), found);
    }

    async fn wrong(&mut self, method: &MethodDescriptor) {
        let all = wrong(method);
        if all.is_empty() != is_exempt(method, "wrong") {
            let found = Err(format!("{} wrong requests are known", all.len()));
            return self.note(method, "wrong requests", found);
        }
        for (asked, field) in all {
            let status = complaint(&self.channel, method, &self.admin, &asked).await;
            let found = says(status, Code::InvalidArgument).and_then(|error| {
                let fields: Vec<_> = error.violations.iter().map(|it| &it.field).collect();
                let input = method.input();
                let are_fields = fields.iter().all(|path| begins_in(path, &input));
                let is_named = fields.iter().any(|path| **path == field);
                match are_fields && is_named {
                    true => Ok(()),
                    false => Err(format!("names {fields:?}")),
                }
            });
            self.note(method, &format!("{field} in {asked}"), found);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_says_what_is_wrong_as_it_must() {
    let mut planes = Planes::new(Options::default());
    planes
        .control
        .add_args(["--public-url", "http://127.0.0.1:1"]);
    planes.control.start().await;
    let endpoint = Endpoint::from_shared(planes.control.endpoint.clone()).unwrap();
    let mut world = World {
        channel: endpoint.connect().await.unwrap(),
        admin: planes.control.token("admin"),
        problems: Vec::new(),
        tried: 0,
    };
    let low = [
        ("viewer", "data-plane"),
        ("operator", "viewer"),
        ("editor", "operator"),
        ("admin", "editor"),
    ]
    .map(|(role, lower)| (role, planes.control.token(lower)));
    let roles = said();
    let pool = DescriptorPool::decode(signalbox_proto::DESCRIPTORS).unwrap();
    let services = pool
        .services()
        .filter(|service| service.package_name() == PUBLIC);
    let methods: Vec<_> = services
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect();
    let names: BTreeSet<_> = methods.iter().map(|it| it.name().to_owned()).collect();
    for (name, _, why) in EXEMPT {
        assert!(names.contains(*name) && !why.is_empty(), "{name}");
    }
    for method in &methods {
        let role = roles[method.name()].as_str();
        let (_, lower) = low
            .iter()
            .find(|(it, _)| *it == role)
            .unwrap_or_else(|| panic!("{} has no role", method.name()));
        world.refused(method, "", Code::Unauthenticated).await;
        world.refused(method, lower, Code::PermissionDenied).await;
        world.missing(method).await;
        world.wrong(method).await;
    }
    let World {
        problems, tried, ..
    } = world;
    assert!(
        problems.is_empty(),
        "{tried} tried:\n{}",
        problems.join("\n")
    );
    assert!(tried > 4 * methods.len(), "{tried}");
}
