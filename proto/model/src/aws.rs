//! What is known of AWS's services: tables of protocols, of hosts, of REST operations, and of lists in XML.
//!
//! Sources: the service models of the AWS SDKs (`botocore/data`), and
//! <https://smithy.io/2.0/aws/protocols/index.html>. A service that is not here is called by the `rest` form of the step.

mod elements;
mod hosts;
mod rest;
mod services;

pub use elements::{Element, Elements};
pub use hosts::host;
pub use rest::{RestBody, RestOperation, RestOutput, rest_operation, rest_operations};

/// How a service's operations are written as requests, and its answers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AWS Query: a form in, XML out.
    Query {
        /// `Version` of the API.
        version: &'static str,
        /// How lists and maps are flattened.
        flattening: Flattening,
    },
    /// JSON in and out; the operation is in `X-Amz-Target`.
    Json {
        /// `1.0` or `1.1`, as the Content-Type says.
        version: &'static str,
        /// What stands before `.Operation`.
        target: &'static str,
    },
    /// REST with JSON bodies. Operations are those of [`rest_operations`].
    RestJson,
    /// REST with XML bodies. Operations are those of [`rest_operations`].
    RestXml,
}

/// How the Query protocol flattens lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flattening {
    /// `Name.1`; well-known names of the SDKs become those of the wire ([`ec2_name`]).
    Ec2,
    /// `Name.member.1`.
    Member,
    /// `Name.1`: the services whose lists name their members, as in `Filters.Filter.1`.
    Plain,
}

/// One service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// As definitions name it.
    pub name: &'static str,
    /// First label of its host.
    pub endpoint: &'static str,
    /// Name in signatures.
    pub signing_name: &'static str,
    /// How it is spoken to.
    pub protocol: Protocol,
}

impl Service {
    /// The service that definitions call `name`: as the AWS command line does, or as its hosts begin.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        services::find(name)
    }

    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        services::all().map(|service| service.name)
    }

    /// Host and signing region of the service in `region`.
    #[must_use]
    pub fn host(&self, region: &str) -> (String, String) {
        host(self.endpoint, region)
    }
}

/// Whether `text` can be a region: it becomes a part of a host's name.
#[must_use]
pub fn is_region(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=32).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` can be a service that is not known: it becomes a part of a host's name, and of a signature.
#[must_use]
pub fn is_service(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    let labels =
        |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    (1..=63).contains(&text.len()) && text.bytes().all(inner) && text.split('.').all(labels)
}

/// The name on EC2's wire of a list that the SDKs and the command line call `name`. EC2's API reference has the wire's
/// names, and those pass as they are.
#[must_use]
pub fn ec2_name(name: &str) -> &str {
    const NAMES: [(&str, &str); 24] = [
        ("AllocationIds", "AllocationId"),
        ("AvailabilityZones", "AvailabilityZone"),
        ("ExecutableUsers", "ExecutableBy"),
        ("Filters", "Filter"),
        ("GroupIds", "GroupId"),
        ("GroupNames", "GroupName"),
        ("ImageIds", "ImageId"),
        ("InstanceIds", "InstanceId"),
        ("InstanceTypes", "InstanceType"),
        ("KeyNames", "KeyName"),
        ("NatGatewayIds", "NatGatewayId"),
        ("NetworkInterfaceIds", "NetworkInterfaceId"),
        ("Owners", "Owner"),
        ("PublicIps", "PublicIp"),
        ("RegionNames", "RegionName"),
        ("Resources", "ResourceId"),
        ("SecurityGroupIds", "SecurityGroupId"),
        ("SnapshotIds", "SnapshotId"),
        ("SubnetIds", "SubnetId"),
        ("TagSpecifications", "TagSpecification"),
        ("Tags", "Tag"),
        ("Values", "Value"),
        ("VolumeIds", "VolumeId"),
        ("VpcIds", "VpcId"),
    ];
    let known = NAMES.iter().find(|(sdk, _)| *sdk == name);
    known.map_or(name, |(_, wire)| wire)
}

/// How the Query protocol writes the maps of SNS: the input's member, and what its keys and values are called.
#[must_use]
pub fn query_map(service: &str, member: &str) -> Option<[&'static str; 2]> {
    match (service, member) {
        ("sns", "MessageAttributes") => Some(["Name", "Value"]),
        ("sns", "Attributes") => Some(["key", "value"]),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
