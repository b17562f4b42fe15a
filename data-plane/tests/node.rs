//! A whole node: what it answers before it has heard of a control plane, and why it does not start.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::{net::SocketAddr, num::NonZeroUsize, path::Path, time::Duration};

use signalbox_data_plane::{
    execution::CredentialSource,
    node::{self, ControlPlaneAddress, Limits, NodeConfig, RunningNode, StartError, TlsSource},
    server::{BodyLimits, Proxies},
    spool::{IntakeSpoolConfig, SpoolMax},
};
use signalbox_runtime::{exit, shutdown::Shutdown, tls::ServerFiles};

fn config(data_dir: &Path) -> NodeConfig {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let many = NonZeroUsize::new(100).unwrap();
    NodeConfig {
        listen: any,
        admin_listen: Some(any),
        data_dir: data_dir.to_owned(),
        node_id: None,
        control_plane: ControlPlaneAddress {
            endpoint: "http://127.0.0.1:1".to_owned(),
            token: None,
            enrollment: None,
            ca_file: None,
            certificate: None,
        },
        tls: None,
        sns_trusted_origins: Vec::new(),
        egress_allow: Vec::new(),
        egress_deny: Vec::new(),
        aws_credentials: CredentialSource::default(),
        deduplication_window: Duration::from_secs(7 * 24 * 3600),
        limits: Limits {
            body_max_bytes: 1024,
            bodies_max_bytes: BodyLimits::HELD_MAX_BYTES,
            connections_max: many,
            in_flight_max: many,
            executions_max: many,
            interruptions_max: 250,
            spool_max: SpoolMax::DEFAULT,
            intake_skim_max: IntakeSpoolConfig::SKIM_MAX,
            connections_per_address_max: many,
            rates: signalbox_data_plane::config::Rates::default(),
        },
        proxies: Proxies::default(),
    }
}

async fn get(node: &RunningNode, path: &str) -> (u16, String) {
    let url = format!("http://{}{path}", node.admin_addr.unwrap());
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn a_node_without_a_control_plane_is_alive_not_ready_and_asks_to_be_asked_again() {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let node = node::start(config(dir.path()), &shutdown).await.unwrap();
    assert_eq!(get(&node, "/healthz").await.0, 200);
    let (status, checks) = get(&node, "/readyz").await;
    assert_eq!(status, 503, "{checks}");
    let checks: serde_json::Value = serde_json::from_str(&checks).unwrap();
    let check = |name: &str| {
        let all = checks["checks"].as_array().unwrap();
        all.iter().find(|check| check["name"] == name).unwrap()["ok"].clone()
    };
    assert_eq!(
        (check("synced"), check("spool")),
        (false.into(), true.into())
    );

    let url = format!(
        "http://{}/v1/projects/default/workflows/w/sns",
        node.webhook_addr
    );
    let answer = reqwest::Client::new()
        .post(url)
        .header("x-api-key", "sbk_x")
        .send();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));

    // The same node again, after an orderly end.
    let id = node.node.clone();
    shutdown.drain(Duration::from_secs(10)).await;
    drop(node);
    let shutdown = Shutdown::new();
    let again = node::start(config(dir.path()), &shutdown).await.unwrap();
    assert_eq!(again.node, id);
    shutdown.drain(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let running = node::start(config(dir.path()), &shutdown).await.unwrap();
    let why = |config: NodeConfig| async {
        let error: StartError = node::start(config, &Shutdown::new()).await.unwrap_err();
        exit::chain(&error)
    };
    let other = tempfile::tempdir().unwrap();
    let file = other.path().join("file");
    std::fs::write(&file, "").unwrap();

    let locked = why(config(dir.path())).await;
    assert!(
        locked.contains("another process") || locked.contains("in use"),
        "{locked}"
    );
    let no_folder = why(config(&file)).await;
    assert!(no_folder.contains("file"), "{no_folder}");
    let mut taken = config(other.path());
    taken.listen = running.webhook_addr;
    let taken = why(taken).await;
    assert!(taken.contains(&running.webhook_addr.to_string()), "{taken}");
    assert!(taken.contains("in use"), "{taken}");
    let mut tls = config(other.path());
    tls.tls = Some(TlsSource::Files(ServerFiles {
        cert: file.clone(),
        key: file.clone(),
        client_ca: None,
    }));
    let tls = why(tls).await;
    assert!(tls.contains("file"), "{tls}");
    // No file, and no damage either: there is nothing to repair.
    let shut = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(shut.path().join("intake/0000000000000001.segment")).unwrap();
    let shut = why(config(shut.path())).await;
    assert!(
        shut.contains("intake cannot be opened: cannot open 0000000000000001.segment"),
        "{shut}"
    );
    assert!(!shut.contains("repair"), "{shut}");
    let named = tempfile::tempdir().unwrap();
    std::fs::write(named.path().join("node-id"), "n1").unwrap();
    let mut another = config(named.path());
    another.node_id = Some("n2".parse().unwrap());
    let another = why(another).await;
    assert!(
        another.contains("--node-id is n2") && another.contains("of n1"),
        "{another}"
    );
    for line in [locked, no_folder, taken, tls, shut, another] {
        assert!(!line.contains('\n'), "{line}");
    }
    shutdown.drain(Duration::from_secs(10)).await;
}
