//! The API is shaped as the AIPs say (<https://google.aip.dev>), and all of it is documented. What is otherwise stands in the one
//! table of exemptions, with the reason. How methods answer is tried in `tests/it/conformance.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const PUBLIC: &str = "signalbox.v1";

/// What is not as a rule wants it: the method or resource, the rule, and why.
const EXEMPT: &[(&str, &str, &str)] = &[
    ("ListNodes", "parent", "nodes belong to no project"),
    ("ListRevokedTokens", "parent", "tokens belong to no project"),
    ("ListSigningKeys", "parent", "keys belong to no project"),
    (
        "ListSigningKeys",
        "pages",
        "there are as many as rotations within the overlap, and all are needed",
    ),
    (
        "ListUpcomingRuns",
        "parent",
        "what it lists is computed, and belongs to the workflow that `name` says",
    ),
    (
        "ListUpcomingRuns",
        "pages",
        "a schedule may go on for ever: `after` and `count` say which",
    ),
    ("UpdateSecret", "update_mask", "a secret has its value only"),
    (
        "Project",
        "purge_time",
        "a deleted one is shown until its history is gone, which takes as long as it takes",
    ),
    ("Project", "undelete", "what it had is gone at once"),
    (
        "Project",
        "show_deleted",
        "those whose history is being deleted are shown: their ids are not free",
    ),
    ("CreateProject", "parent", "projects belong to nothing"),
    ("ListProjects", "parent", "projects belong to nothing"),
    (
        "CreateEnrollmentToken",
        "parent",
        "nodes belong to no project",
    ),
    (
        "CreateEnrollmentToken",
        "id",
        "the control plane makes it: it tells nothing of the secret",
    ),
    (
        "CreateEnrollmentToken",
        "resource",
        "what is asked for is for whom, and for how long",
    ),
    (
        "CreateEnrollmentToken",
        "answer",
        "the secret leaves with it, and is no field of the token",
    ),
    (
        "ListEnrollmentTokens",
        "parent",
        "nodes belong to no project",
    ),
    (
        "Awaited",
        "deadline",
        "it is the time of no event, but the last at which one counts",
    ),
    (
        "CreateApiKey",
        "answer",
        "the key's value leaves with it, and is no field of the key",
    ),
];

/// Which exemptions were needed.
#[derive(Default)]
struct Rules {
    used: BTreeSet<(String, String)>,
    broken: Vec<String>,
}

impl Rules {
    fn hold(&mut self, of: &str, rule: &str, holds: bool, text: &str) {
        if holds {
            return;
        }
        let is_exempt = EXEMPT.iter().any(|(it, its, _)| (*it, *its) == (of, rule));
        if is_exempt {
            self.used.insert((of.to_owned(), rule.to_owned()));
        } else {
            self.broken.push(format!("{of}: {rule}: {text}"));
        }
    }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(signalbox_proto::DESCRIPTORS).unwrap()
}

fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    let services = pool.services();
    services
        .filter(|service| service.package_name() == PUBLIC)
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

fn is(message: &MessageDescriptor, field: &str, kind: &Kind) -> bool {
    let found = message.get_field_by_name(field);
    found.is_some_and(|it| !it.is_list() && it.kind() == *kind)
}

fn is_message(message: &MessageDescriptor, field: &str, of: &str) -> bool {
    let found = message.get_field_by_name(field);
    found.is_some_and(|it| {
        !it.is_list() && it.kind().as_message().is_some_and(|m| m.full_name() == of)
    })
}

fn snake(camel: &str) -> String {
    let mut snake = String::new();
    for c in camel.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

const TEXT: Kind = Kind::String;

fn a_list(rules: &mut Rules, name: &str, asked: &MessageDescriptor, answer: &MessageDescriptor) {
    let has_parent = is(asked, "parent", &TEXT);
    rules.hold(name, "parent", has_parent, "AIP-132: string parent");
    let is_paged = is(asked, "page_size", &Kind::Int32)
        && is(asked, "page_token", &TEXT)
        && is(answer, "next_page_token", &TEXT);
    let text = "AIP-158: int32 page_size, string page_token, string next_page_token";
    rules.hold(name, "pages", is_paged, text);
    let lists = answer.fields().filter(FieldDescriptor::is_list).count();
    let text = "AIP-132: one repeated field, beside scalars";
    rules.hold(name, "answer", lists == 1, text);
    let answered = answer.name() == format!("{name}Response");
    rules.hold(
        name,
        "answer",
        answered,
        "AIP-132: it is named after the method",
    );
}

/// Standard methods (AIP-131 to AIP-135, AIP-164), by their verb.
fn a_standard_method(rules: &mut Rules, pool: &DescriptorPool, method: &MethodDescriptor) {
    let (asked, answer, name) = (method.input(), method.output(), method.name());
    let text = "AIP-130: the request is named after the method";
    let is_named = asked.name() == format!("{name}Request");
    rules.hold(name, "request", is_named, text);
    if name.starts_with("List") {
        return a_list(rules, name, &asked, &answer);
    }
    let verbs = ["Get", "Create", "Update", "Undelete", "Delete"];
    let split = verbs
        .iter()
        .find_map(|verb| Some((*verb, name.strip_prefix(verb)?)));
    let Some((verb, resource)) = split else {
        return;
    };
    let full = format!("{PUBLIC}.{resource}");
    let message = pool.get_message_by_name(&full);
    // What has no name is no resource.
    let Some(message) = message.filter(|it| is(it, "name", &TEXT)) else {
        // Of no resource: GetWebhook, GetExecutionEvent and CreateApprovalLinks are custom methods (AIP-136).
        let text = "AIP-136: string name";
        return rules.hold(name, "name", is(&asked, "name", &TEXT), text);
    };
    let field = snake(resource);
    match verb {
        "Create" => {
            rules.hold(name, "parent", is(&asked, "parent", &TEXT), "AIP-133");
            let has_id = is(&asked, &format!("{field}_id"), &TEXT);
            rules.hold(name, "id", has_id, "AIP-133: the id is the caller's");
            let has_it = is_message(&asked, &field, &full);
            rules.hold(name, "resource", has_it, "AIP-133");
        }
        "Update" => {
            let has_it = is_message(&asked, &field, &full);
            rules.hold(name, "resource", has_it, "AIP-134");
            let has_mask = is_message(&asked, "update_mask", "google.protobuf.FieldMask");
            rules.hold(name, "update_mask", has_mask, "AIP-134");
            let has_etag = is(&message, "etag", &TEXT);
            let text = "AIP-154: what can be changed has an etag";
            rules.hold(resource, "etag", has_etag, text);
        }
        _ => rules.hold(name, "name", is(&asked, "name", &TEXT), "string name"),
    }
    if ["Delete", "Undelete"].contains(&verb) && is(&message, "etag", &TEXT) {
        let text = "AIP-154: the etag of what is deleted";
        rules.hold(name, "etag", is(&asked, "etag", &TEXT), text);
    }
    let answers = match verb {
        "Delete" => answer.full_name() == "google.protobuf.Empty",
        _ => answer.full_name() == full,
    };
    let text = "the resource; of Delete, google.protobuf.Empty";
    rules.hold(name, "answer", answers, text);
}

fn a_resource(rules: &mut Rules, pool: &DescriptorPool, resource: &MessageDescriptor) {
    let name = resource.name();
    let has = |method: &str| methods(pool).iter().any(|it| it.name() == method);
    for field in resource.fields() {
        let is_time = field
            .kind()
            .as_message()
            .is_some_and(|it| it.full_name() == "google.protobuf.Timestamp");
        if is_time && field.cardinality() != Cardinality::Repeated {
            let is_named = ["_time", "after"]
                .iter()
                .any(|it| field.name().ends_with(it));
            let is_named = is_named || field.name() == "time";
            let text = "AIP-142: times end with _time";
            rules.hold(name, field.name(), is_named, text);
        }
    }
    let time = "google.protobuf.Timestamp";
    if !is_message(resource, "delete_time", time) {
        return;
    }
    let is_purged = is_message(resource, "purge_time", time);
    rules.hold(name, "purge_time", is_purged, "AIP-164");
    let comes_back = has(&format!("Undelete{name}"));
    rules.hold(name, "undelete", comes_back, "AIP-164");
    let list = pool.get_message_by_name(&format!("{PUBLIC}.List{name}sRequest"));
    let is_shown = list.is_some_and(|list| is(&list, "show_deleted", &Kind::Bool));
    rules.hold(name, "show_deleted", is_shown, "AIP-164");
}

#[test]
fn methods_and_resources_are_shaped_as_the_aips_say() {
    let pool = pool();
    let mut rules = Rules::default();
    for method in methods(&pool) {
        a_standard_method(&mut rules, &pool, &method);
    }
    for message in pool.all_messages() {
        if message.package_name() == PUBLIC {
            a_resource(&mut rules, &pool, &message);
        }
    }
    assert!(rules.broken.is_empty(), "{:#?}", rules.broken);
    let exempt: BTreeSet<_> = EXEMPT
        .iter()
        .map(|(of, rule, _)| ((*of).to_owned(), (*rule).to_owned()))
        .collect();
    let needless: Vec<_> = exempt.difference(&rules.used).collect();
    assert!(needless.is_empty(), "exempt without need: {needless:?}");
}

/// Comments by the path of what they stand before (`SourceCodeInfo.Location`).
fn comments(file: &FileDescriptorProto) -> BTreeMap<Vec<i32>, String> {
    let locations = file.source_code_info.iter().flat_map(|it| &it.location);
    locations
        .map(|it| (it.path.clone(), it.leading_comments().trim().to_owned()))
        .collect()
}

/// All that is declared: its path, as descriptor.proto numbers it, and its name.
fn declared(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let at = |index: usize| i32::try_from(index).unwrap();
    let mut all = Vec::new();
    for (s, service) in file.service.iter().enumerate() {
        all.push((vec![6, at(s)], service.name().to_owned()));
        for (m, method) in service.method.iter().enumerate() {
            let name = format!("{}.{}", service.name(), method.name());
            all.push((vec![6, at(s), 2, at(m)], name));
        }
    }
    for (m, message) in file.message_type.iter().enumerate() {
        assert!(
            message.enum_type.is_empty(),
            "{}: enums stand alone",
            message.name()
        );
        all.push((vec![4, at(m)], message.name().to_owned()));
        for (f, field) in message.field.iter().enumerate() {
            let name = format!("{}.{}", message.name(), field.name());
            all.push((vec![4, at(m), 2, at(f)], name));
        }
    }
    for (e, of) in file.enum_type.iter().enumerate() {
        all.push((vec![5, at(e)], of.name().to_owned()));
        for (v, value) in of.value.iter().enumerate() {
            all.push((vec![5, at(e), 2, at(v)], value.name().to_owned()));
        }
    }
    all
}

#[test]
fn everything_is_documented_and_each_public_method_names_its_role() {
    let set = FileDescriptorSet::decode(signalbox_proto::DESCRIPTORS).unwrap();
    let ours = set
        .file
        .iter()
        .filter(|file| file.package().starts_with("signalbox."));
    let (mut seen, mut missing) = (0, Vec::new());
    for file in ours {
        let comments = comments(file);
        for (path, name) in declared(file) {
            seen += 1;
            let comment = comments.get(&path).map_or("", String::as_str);
            if comment.is_empty() {
                missing.push(format!("{}: {name} has no comment", file.name()));
            }
            let is_public_method = file.package() == PUBLIC && path.len() == 4 && path[0] == 6;
            if is_public_method && !comment.contains("Role: ") {
                missing.push(format!("{}: {name} names no role", file.name()));
            }
        }
    }
    assert!(seen > 500, "{seen} declarations were found");
    assert!(missing.is_empty(), "without documentation: {missing:#?}");
}
