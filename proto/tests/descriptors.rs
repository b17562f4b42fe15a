//! The compiled-in descriptors hold what reflection must answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;

use prost::Message as _;

#[test]
fn every_import_is_there() {
    let set = prost_types::FileDescriptorSet::decode(signalbox_proto::DESCRIPTORS).unwrap();
    let files: BTreeSet<_> = set.file.iter().map(|file| file.name().to_owned()).collect();
    for file in &set.file {
        for import in &file.dependency {
            assert!(
                files.contains(import),
                "{import}, imported by {}",
                file.name()
            );
        }
    }
    for known in [
        "google/protobuf/struct.proto",
        "google/protobuf/empty.proto",
    ] {
        assert!(files.contains(known), "{known}");
    }
    let services: Vec<_> = set
        .file
        .iter()
        .flat_map(|file| {
            file.service
                .iter()
                .map(|s| format!("{}.{}", file.package(), s.name()))
        })
        .collect();
    assert_eq!(services.len(), 13, "{services:?}");
}
