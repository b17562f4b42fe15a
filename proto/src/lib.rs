//! The wire: generated messages and services (`signalbox.v1`, `signalbox.dataplane.v1`), and what maps them to
//! [`signalbox_model`].

pub mod convert;
mod redact;

pub use prost_types::Value;

/// `signalbox.v1`: the control plane's API.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    reason = "generated; its comments are those of the .proto files"
)]
pub mod v1 {
    include!("gen/signalbox.v1.rs");
}

/// `signalbox.dataplane.v1`: the protocol between the planes.
pub mod dataplane {
    /// Version 1.
    #[allow(
        clippy::all,
        clippy::pedantic,
        missing_docs,
        unreachable_pub,
        reason = "generated; its comments are those of the .proto files"
    )]
    pub mod v1 {
        include!("gen/signalbox.dataplane.v1.rs");
    }
}

/// The `google.protobuf.FileDescriptorSet` of everything here and what it imports: for reflection and the JSON mapping.
pub const DESCRIPTORS: &[u8] = include_bytes!("gen/descriptors.binpb");
