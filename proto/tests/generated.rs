//! The checked-in code in `src/gen` is what the `.proto` files say.
//!
//! `SIGNALBOX_BLESS=1 cargo test -p signalbox-proto --test generated` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, fs, path::Path};

const FILES: [&str; 17] = [
    "signalbox/v1/api_key.proto",
    "signalbox/v1/audit.proto",
    "signalbox/v1/delivery.proto",
    "signalbox/v1/execution.proto",
    "signalbox/v1/manifest.proto",
    "signalbox/v1/node.proto",
    "signalbox/v1/project.proto",
    "signalbox/v1/rate_limit.proto",
    "signalbox/v1/secret.proto",
    "signalbox/v1/subscription.proto",
    "signalbox/v1/token.proto",
    "signalbox/v1/workflow.proto",
    "signalbox/v1/workflow_spec.proto",
    "signalbox/dataplane/v1/enrollment.proto",
    "signalbox/dataplane/v1/report.proto",
    "signalbox/dataplane/v1/signal.proto",
    "signalbox/dataplane/v1/sync.proto",
];

fn generate(out: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(FILES, [root]).unwrap();
    let mut config = prost_build::Config::new();
    config.enable_type_names();
    // Ordered maps encode the same each time: an equal definition is an equal text.
    config.btree_map(["."]);
    // Messages that hold a secret value get a `Debug` of their own (`src/redact.rs`).
    config.skip_debug([
        "signalbox.dataplane.v1.EnrollNodeRequest",
        "signalbox.dataplane.v1.NodeToken",
        "signalbox.v1.ApprovalLinks",
        "signalbox.v1.CreateApiKeyResponse",
        "signalbox.v1.CreateEnrollmentTokenResponse",
        "signalbox.v1.RevealApiKeyResponse",
        "signalbox.v1.RotateApiKeyResponse",
        "signalbox.v1.Secret",
    ]);
    tonic_prost_build::configure()
        .build_transport(true)
        .bytes(".signalbox")
        .out_dir(out)
        .compile_fds_with_config(descriptors.clone(), config)
        .unwrap();
    use prost::Message as _;
    fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec()).unwrap();
}

fn read_dir(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

#[test]
fn generated_code_is_current() {
    let out = tempfile::tempdir().unwrap();
    generate(out.path());
    let fresh = read_dir(out.path());
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if std::env::var_os("SIGNALBOX_BLESS").is_some() {
        for (name, content) in &fresh {
            fs::write(checked_in.join(name), content).unwrap();
        }
    }
    let current = read_dir(&checked_in);
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        current.keys().collect::<Vec<_>>()
    );
    for (name, content) in &fresh {
        assert!(
            content == &current[name],
            "{name} is stale: run SIGNALBOX_BLESS=1 cargo test -p signalbox-proto --test generated"
        );
    }
}
