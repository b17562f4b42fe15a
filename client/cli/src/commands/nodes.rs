//! `signalbox nodes`.

use signalbox_proto::{convert::time as wire, v1};

use super::{call, once, pages};
use crate::{
    CliError, Output,
    args::{Global, NodesCommand},
    output::{short, time, value},
};

/// The resource name of an id that may be short.
fn name(collection: &str, id: &str) -> String {
    match id.contains('/') {
        true => id.to_owned(),
        false => format!("{collection}/{id}"),
    }
}

pub(crate) async fn run(
    global: &Global,
    command: NodesCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    match command {
        NodesCommand::List => {
            let request = || v1::ListNodesRequest::default();
            let all = pages!(client, usize::MAX, nodes.list_nodes(request()).nodes);
            list(&all, output)
        }
        NodesCommand::EnrollToken {
            node,
            display_name,
            ttl,
        } => {
            let request = v1::CreateEnrollmentTokenRequest {
                node: node.map_or_else(String::new, |node| name("nodes", &node)),
                display_name,
                ttl: Some(wire::duration_to_wire(ttl)),
            };
            let created = once!(client, nodes.create_enrollment_token(request));
            // The secret alone, so that it can be put into a variable or a file.
            output.message(&created, |created| created.secret.clone())
        }
        NodesCommand::ListEnrollTokens => {
            let request = || v1::ListEnrollmentTokensRequest::default();
            let all = pages!(
                client,
                usize::MAX,
                nodes.list_enrollment_tokens(request()).enrollment_tokens
            );
            let header = [
                "TOKEN",
                "FOR",
                "DISPLAY NAME",
                "CREATED",
                "BY",
                "EXPIRES",
                "USED",
                "USED BY",
            ];
            output.list(&all, header, |token| {
                [
                    short(&token.name),
                    short(&token.node),
                    token.display_name.clone(),
                    time(token.create_time.as_ref()),
                    token.created_by.clone(),
                    time(token.expire_time.as_ref()),
                    time(token.use_time.as_ref()),
                    short(&token.used_by),
                ]
            })
        }
        NodesCommand::DeleteEnrollToken { id } => {
            let name = name("enrollmentTokens", &id);
            let request = v1::DeleteEnrollmentTokenRequest { name: name.clone() };
            once!(client, nodes.delete_enrollment_token(request));
            output.line(&format!("deleted {name}"))
        }
        NodesCommand::Revoke { id } => {
            let request = v1::RevokeNodeRequest {
                name: name("nodes", &id),
            };
            let node = call!(client, nodes.revoke_node(request));
            output.message(&node, |node| format!("revoked {}", node.name))
        }
    }
}

fn list(all: &[v1::Node], output: &Output) -> Result<(), CliError> {
    let header = [
        "NODE",
        "STATE",
        "VERSION",
        "REVISION",
        "REFUSALS",
        "LAST SEEN",
        "LAST REPORT",
        "ENROLLED",
        "RENEWED",
        "REVOKED",
        "DISPLAY NAME",
    ];
    output.list(all, header, |node| {
        let identity = node.identity.clone().unwrap_or_default();
        [
            short(&node.name),
            value(node.state().as_str_name(), "NODE_STATE_"),
            node.version.clone(),
            format!("{}/{}", node.applied_revision, node.head_revision),
            node.refusals.len().to_string(),
            time(node.last_seen_time.as_ref()),
            time(node.last_report_time.as_ref()),
            time(identity.enroll_time.as_ref()),
            time(identity.renew_time.as_ref()),
            time(identity.revoke_time.as_ref()),
            identity.display_name,
        ]
    })
}
