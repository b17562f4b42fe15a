//! What nodes refuse of a project is shown to who may see that project.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use signalbox_proto::{
    dataplane::v1::{self as wire, sync_service_client::SyncServiceClient},
    v1,
};
use signalbox_tests::{
    api::Api,
    grpc,
    planes::{Options, Planes},
    wait,
};
use tonic::transport::Endpoint;

const LIMIT: Duration = Duration::from_secs(20);

/// A node's stream that says who it is, and refuses `resources`.
async fn refuse(planes: &Planes, resources: &[&str]) -> tonic::Streaming<wire::SyncResponse> {
    let hello = wire::sync_request::Message::Hello(wire::Hello {
        node_id: "mine".to_owned(),
        ..Default::default()
    });
    let refused = resources.iter().map(|resource| wire::RefusedResource {
        resource: (*resource).to_owned(),
        reason: format!("{resource} has a step that is too new"),
    });
    let nack = wire::sync_request::Message::Nack(wire::Nack {
        nonce: String::new(),
        revision: 1,
        refused: refused.collect(),
    });
    let messages = [hello, nack].map(|message| wire::SyncRequest {
        message: Some(message),
    });
    let messages = stream::iter(messages).chain(stream::pending());
    let token = planes.control.token("data-plane");
    let endpoint = Endpoint::from_shared(planes.control.endpoint.clone()).unwrap();
    let mut client = SyncServiceClient::new(endpoint.connect_lazy());
    let answer = client.sync(grpc::with_token(messages, &token)).await;
    answer.unwrap().into_inner()
}

/// What a node is shown to refuse, in the list and by itself.
async fn shown(api: &Api) -> Result<Vec<String>, String> {
    let names = |node: &v1::Node| -> Vec<String> {
        let refusals = node.refusals.iter();
        refusals.map(|refusal| refusal.resource.clone()).collect()
    };
    let mut nodes = api.nodes();
    let listed = nodes.list_nodes(v1::ListNodesRequest::default()).await;
    let listed = listed.map_err(|status| status.to_string())?.into_inner();
    let [node] = listed.nodes.as_slice() else {
        return Err(format!("{listed:?}"));
    };
    let request = v1::GetNodeRequest {
        name: node.name.clone(),
    };
    let read = nodes.get_node(request).await.unwrap().into_inner();
    assert_eq!(names(node), names(&read));
    Ok(names(node))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_role_in_a_project_is_not_shown_what_nodes_refuse_of_it() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let all = [
        "projects/default/workflows/w",
        "projects/other",
        "projects/other/apiKeys/k",
        "projects/other2/workflows/w",
    ];
    let _stream = refuse(&planes, &all).await;
    let of = |project: &str| {
        let token = planes.control.token_in(project, "viewer");
        Api::new(&planes.control.endpoint, &token)
    };
    let everywhere = of("*");
    wait::until("the refusals", LIMIT, || async {
        match shown(&everywhere).await? {
            found if found == all => Ok(()),
            found => Err(format!("{found:?}")),
        }
    })
    .await;
    assert_eq!(shown(&of("default")).await.unwrap(), all[..1]);
    assert_eq!(shown(&of("other")).await.unwrap(), all[1..3]);
    assert_eq!(shown(&of("third")).await.unwrap(), [""; 0]);
}
