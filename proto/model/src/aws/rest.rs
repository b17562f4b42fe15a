//! REST operations by name. Others are called by the `rest` form.

use super::Service;

/// One operation of a REST service: where the members of its input go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestOperation {
    /// Its service.
    pub service: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Method.
    pub method: &'static str,
    /// Path; `{Member}` is one segment, `{Member+}` may be several. Those members are required.
    pub path: &'static str,
    /// Members that are query parameters, with their names there.
    pub query: &'static [(&'static str, &'static str)],
    /// Members that are headers, with their names there.
    pub headers: &'static [(&'static str, &'static str)],
    /// What the body is.
    pub body: RestBody,
    /// What the answer is.
    pub output: RestOutput,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestBody {
    /// None.
    None,
    /// This member: a string as it is, or the bytes that it is the base64 of when [`RestOperation::encoding`] says so; other
    /// values as JSON.
    Payload(&'static str),
    /// This member as JSON, a string too.
    JsonPayload(&'static str),
    /// All members that have no other place, as a JSON object.
    Members,
}

/// What an answer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestOutput {
    /// A body in the protocol's own form.
    Document,
    /// The body is the member of this name; the other members are headers.
    Payload(&'static str),
    /// Headers only.
    Headers,
}

const OBJECT: &str = "/{Bucket}/{Key+}";
/// Of Lambda's API.
const LAMBDA: &str = "/2015-03-31/functions/{FunctionName}";

const fn operation(
    service: &'static str,
    name: &'static str,
    method: &'static str,
    path: &'static str,
) -> RestOperation {
    RestOperation {
        service,
        name,
        method,
        path,
        query: &[],
        headers: &[],
        body: RestBody::None,
        output: RestOutput::Document,
    }
}

/// With all other members in a JSON body.
const fn with_members(operation: RestOperation) -> RestOperation {
    RestOperation {
        body: RestBody::Members,
        ..operation
    }
}

static OPERATIONS: [RestOperation; 15] = [
    with_members(operation("batch", "SubmitJob", "POST", "/v1/submitjob")),
    with_members(operation(
        "batch",
        "TerminateJob",
        "POST",
        "/v1/terminatejob",
    )),
    RestOperation {
        query: &[("Qualifier", "Qualifier")],
        ..operation("lambda", "GetFunction", "GET", LAMBDA)
    },
    RestOperation {
        query: &[("Qualifier", "Qualifier")],
        headers: &[
            ("ClientContext", "x-amz-client-context"),
            ("InvocationType", "x-amz-invocation-type"),
            ("LogType", "x-amz-log-type"),
        ],
        body: RestBody::JsonPayload("Payload"),
        output: RestOutput::Payload("Payload"),
        ..operation(
            "lambda",
            "Invoke",
            "POST",
            "/2015-03-31/functions/{FunctionName}/invocations",
        )
    },
    RestOperation {
        query: &[
            ("FunctionVersion", "FunctionVersion"),
            ("Marker", "Marker"),
            ("MaxItems", "MaxItems"),
        ],
        ..operation("lambda", "ListFunctions", "GET", "/2015-03-31/functions")
    },
    RestOperation {
        headers: &[
            ("ACL", "x-amz-acl"),
            ("ContentType", "content-type"),
            ("CopySource", "x-amz-copy-source"),
            ("MetadataDirective", "x-amz-metadata-directive"),
            ("StorageClass", "x-amz-storage-class"),
            ("TaggingDirective", "x-amz-tagging-directive"),
        ],
        ..operation("s3", "CopyObject", "PUT", OBJECT)
    },
    RestOperation {
        query: &[("VersionId", "versionId")],
        output: RestOutput::Headers,
        ..operation("s3", "DeleteObject", "DELETE", OBJECT)
    },
    RestOperation {
        query: &[("VersionId", "versionId")],
        headers: &[
            ("IfMatch", "if-match"),
            ("IfNoneMatch", "if-none-match"),
            ("Range", "range"),
        ],
        output: RestOutput::Payload("Body"),
        ..operation("s3", "GetObject", "GET", OBJECT)
    },
    RestOperation {
        query: &[("VersionId", "versionId")],
        output: RestOutput::Headers,
        ..operation("s3", "HeadObject", "HEAD", OBJECT)
    },
    operation("s3", "ListBuckets", "GET", "/"),
    RestOperation {
        query: &[
            ("ContinuationToken", "continuation-token"),
            ("Delimiter", "delimiter"),
            ("MaxKeys", "max-keys"),
            ("Prefix", "prefix"),
            ("StartAfter", "start-after"),
        ],
        ..operation("s3", "ListObjectsV2", "GET", "/{Bucket}?list-type=2")
    },
    RestOperation {
        headers: &[
            ("ACL", "x-amz-acl"),
            ("CacheControl", "cache-control"),
            ("ContentDisposition", "content-disposition"),
            ("ContentEncoding", "content-encoding"),
            ("ContentLanguage", "content-language"),
            ("ContentType", "content-type"),
            ("IfMatch", "if-match"),
            ("IfNoneMatch", "if-none-match"),
            ("SSEKMSKeyId", "x-amz-server-side-encryption-aws-kms-key-id"),
            ("ServerSideEncryption", "x-amz-server-side-encryption"),
            ("StorageClass", "x-amz-storage-class"),
            ("Tagging", "x-amz-tagging"),
        ],
        body: RestBody::Payload("Body"),
        output: RestOutput::Headers,
        ..operation("s3", "PutObject", "PUT", OBJECT)
    },
    with_members(operation(
        "scheduler",
        "CreateSchedule",
        "POST",
        "/schedules/{Name}",
    )),
    RestOperation {
        query: &[("ClientToken", "clientToken"), ("GroupName", "groupName")],
        ..operation("scheduler", "DeleteSchedule", "DELETE", "/schedules/{Name}")
    },
    with_members(operation(
        "sesv2",
        "SendEmail",
        "POST",
        "/v2/email/outbound-emails",
    )),
];

/// The operation `name` of `service`.
#[must_use]
pub fn rest_operation(service: &Service, name: &str) -> Option<&'static RestOperation> {
    rest_operations(service).find(|operation| operation.name == name)
}

/// All operations of `service` that are known.
pub fn rest_operations(service: &Service) -> impl Iterator<Item = &'static RestOperation> {
    let name = service.name;
    OPERATIONS
        .iter()
        .filter(move |operation| operation.service == name)
}

impl RestOperation {
    /// The members that its path holds, with whether one may be several segments.
    pub fn path_members(&self) -> impl Iterator<Item = (&'static str, bool)> {
        self.path.split('{').skip(1).filter_map(|part| {
            let (name, _) = part.split_once('}')?;
            Some(match name.strip_suffix('+') {
                Some(name) => (name, true),
                None => (name, false),
            })
        })
    }

    /// The member that says how the payload is encoded, as it does in the answer of the operation that reads it.
    #[must_use]
    pub fn encoding(&self) -> Option<&'static str> {
        match self.body {
            RestBody::Payload("Body") => Some("BodyEncoding"),
            _ => None,
        }
    }

    /// Whether the input may have a member called `name`.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let listed = |list: &[(&str, &str)]| list.iter().any(|(member, _)| *member == name);
        listed(self.query)
            || listed(self.headers)
            || (self.service == "s3" && name == "Metadata")
            || self.encoding() == Some(name)
            || self.path_members().any(|(member, _)| member == name)
            || match self.body {
                RestBody::None => false,
                RestBody::Payload(member) | RestBody::JsonPayload(member) => member == name,
                RestBody::Members => true,
            }
    }
}
