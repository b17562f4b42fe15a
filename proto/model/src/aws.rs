//! What is known of AWS's services: one table of protocols, one of REST operations.
//!
//! Sources: the service models of the AWS SDKs (`botocore/data`), and
//! <https://smithy.io/2.0/aws/protocols/index.html>. A service that is not here is called by the `rest` form of the step.

mod rest;

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

/// Where a service is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In each region.
    Regional,
    /// Once in each partition.
    Global,
    /// Of the partition `aws` in us-east-1 only.
    UsEast1,
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
    /// Where it is found.
    pub location: Location,
}

const fn service(name: &'static str, protocol: Protocol) -> Service {
    Service {
        name,
        endpoint: name,
        signing_name: name,
        protocol,
        location: Location::Regional,
    }
}

/// The same under another name.
const fn called(name: &'static str, service: Service) -> Service {
    Service { name, ..service }
}

const fn at(location: Location, service: Service) -> Service {
    Service {
        location,
        ..service
    }
}

/// With another host, and another name in signatures.
const fn named(endpoint: &'static str, signing_name: &'static str, service: Service) -> Service {
    Service {
        endpoint,
        signing_name,
        ..service
    }
}

const fn query(version: &'static str) -> Protocol {
    Protocol::Query {
        version,
        flattening: Flattening::Member,
    }
}

const fn plain_query(version: &'static str) -> Protocol {
    Protocol::Query {
        version,
        flattening: Flattening::Plain,
    }
}

const fn json10(target: &'static str) -> Protocol {
    Protocol::Json {
        version: "1.0",
        target,
    }
}

const fn json11(target: &'static str) -> Protocol {
    Protocol::Json {
        version: "1.1",
        target,
    }
}

const CLOUDWATCH: Service = service("monitoring", query("2010-08-01"));
const STATES: Service = service("states", json10("AWSStepFunctions"));
const EVENTS: Service = service("events", json11("AWSEvents"));
const LOGS: Service = service("logs", json11("Logs_20140328"));
const EC2: Protocol = Protocol::Query {
    version: "2016-11-15",
    flattening: Flattening::Ec2,
};
const ELB: &str = "elasticloadbalancing";

/// All that are known, by name.
static SERVICES: [Service; 58] = [
    service("acm", json11("CertificateManager")),
    service("application-autoscaling", json11("AnyScaleFrontendService")),
    service("athena", json11("AmazonAthena")),
    service("autoscaling", query("2011-01-01")),
    service("batch", Protocol::RestJson),
    at(
        Location::Global,
        service("budgets", json11("AWSBudgetServiceGateway")),
    ),
    at(
        Location::UsEast1,
        service("ce", json11("AWSInsightsIndexService")),
    ),
    service("cloudformation", query("2010-05-15")),
    service(
        "cloudtrail",
        json11("com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101"),
    ),
    called("cloudwatch", CLOUDWATCH),
    service("codebuild", json11("CodeBuild_20161006")),
    service("codedeploy", json11("CodeDeploy_20141006")),
    service("codepipeline", json11("CodePipeline_20150709")),
    service("cognito-idp", json11("AWSCognitoIdentityProviderService")),
    service("config", json11("StarlingDoveService")),
    service("dynamodb", json10("DynamoDB_20120810")),
    service("ec2", EC2),
    named(
        "api.ecr",
        "ecr",
        service("ecr", json11("AmazonEC2ContainerRegistry_V20150921")),
    ),
    service("ecs", json11("AmazonEC2ContainerServiceV20141113")),
    service("elasticache", plain_query("2015-02-02")),
    service("elasticbeanstalk", query("2010-12-01")),
    service(ELB, query("2015-12-01")),
    named(ELB, ELB, service("elb", query("2012-06-01"))),
    named(ELB, ELB, service("elbv2", query("2015-12-01"))),
    named("email", "ses", service("email", query("2010-12-01"))),
    called("eventbridge", EVENTS),
    EVENTS,
    service("firehose", json11("Firehose_20150804")),
    service("glue", json11("AWSGlue")),
    at(Location::Global, service("iam", query("2010-05-08"))),
    service("kinesis", json11("Kinesis_20131202")),
    service("kms", json11("TrentService")),
    service("lambda", Protocol::RestJson),
    service("lightsail", json11("Lightsail_20161128")),
    LOGS,
    CLOUDWATCH,
    at(
        Location::UsEast1,
        service("organizations", json11("AWSOrganizationsV20161128")),
    ),
    service("rds", plain_query("2014-10-31")),
    service("redshift", plain_query("2012-12-01")),
    service("rekognition", json11("RekognitionService")),
    service("s3", Protocol::RestXml),
    named(
        "api.sagemaker",
        "sagemaker",
        service("sagemaker", json11("SageMaker")),
    ),
    service("scheduler", Protocol::RestJson),
    service("secretsmanager", json11("secretsmanager")),
    service("servicediscovery", json11("Route53AutoNaming_v20170314")),
    named("email", "ses", service("ses", query("2010-12-01"))),
    named("email", "ses", service("sesv2", Protocol::RestJson)),
    service("sns", query("2010-03-31")),
    service("sqs", json10("AmazonSQS")),
    service("ssm", json11("AmazonSSM")),
    STATES,
    called("stepfunctions", STATES),
    service("sts", query("2011-06-15")),
    at(
        Location::UsEast1,
        service("support", json11("AWSSupport_20130415")),
    ),
    service("tagging", json11("ResourceGroupsTaggingAPI_20170126")),
    service("textract", json11("Textract")),
    service("transcribe", json11("Transcribe")),
    service("wafv2", json11("AWSWAF_20190729")),
];

impl Service {
    /// The service that definitions call `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        SERVICES.iter().find(|service| service.name == name)
    }

    /// The names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SERVICES.iter().map(|service| service.name)
    }

    /// Host and signing region of the service in `region`.
    #[must_use]
    pub fn host(&self, region: &str) -> (String, String) {
        let partition = Partition::of(region);
        let endpoint = self.endpoint;
        match (self.location, partition) {
            (Location::Global, Partition::Aws) => {
                (format!("{endpoint}.amazonaws.com"), "us-east-1".to_owned())
            }
            (Location::Global, Partition::UsGov) => (
                format!("{endpoint}.us-gov.amazonaws.com"),
                "us-gov-west-1".to_owned(),
            ),
            (Location::Global, Partition::China) => (
                format!("{endpoint}.cn-north-1.amazonaws.com.cn"),
                "cn-north-1".to_owned(),
            ),
            (Location::UsEast1, Partition::Aws) => regional_host(endpoint, "us-east-1"),
            _ => regional_host(endpoint, region),
        }
    }
}

/// Host and signing region of a service that is in each region.
#[must_use]
pub fn regional_host(endpoint: &str, region: &str) -> (String, String) {
    let suffix = Partition::of(region).dns_suffix();
    (format!("{endpoint}.{region}.{suffix}"), region.to_owned())
}

/// A part of AWS that shares no accounts with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partition {
    Aws,
    China,
    UsGov,
    Iso,
    IsoB,
    Europe,
}

impl Partition {
    fn of(region: &str) -> Self {
        // The longer prefix first.
        match region {
            _ if region.starts_with("cn-") => Self::China,
            _ if region.starts_with("us-gov-") => Self::UsGov,
            _ if region.starts_with("us-isob-") => Self::IsoB,
            _ if region.starts_with("us-iso-") => Self::Iso,
            _ if region.starts_with("eusc-") => Self::Europe,
            _ => Self::Aws,
        }
    }

    fn dns_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::UsGov => "amazonaws.com",
            Self::China => "amazonaws.com.cn",
            Self::Iso => "c2s.ic.gov",
            Self::IsoB => "sc2s.sgov.gov",
            Self::Europe => "amazonaws.eu",
        }
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
