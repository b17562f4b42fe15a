//! Resource names.

use std::{
    fmt::{self, Write as _},
    str::FromStr,
};

use serde::{Deserialize, Serialize, Serializer};

use super::{
    ApiKeyId, DeliveryId, EnrollmentTokenId, ExecutionId, IdError, NodeId, ProjectId, SecretId,
    SubscriptionId, WorkflowId,
};

/// What nearly all names fit into.
const NAME_BYTES: usize = 96;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident { $($collection:literal / $field:ident : $id:ty),+ }, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name {
            $(
                #[doc = concat!("The `", $collection, "` segment.")]
                pub $field: $id,
            )+
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                let wrong = || IdError::new(text, $expected);
                let mut segments = text.split('/');
                $(
                    if segments.next() != Some($collection) {
                        return Err(wrong());
                    }
                    let $field = segments
                        .next()
                        .and_then(|segment| segment.parse().ok())
                        .ok_or_else(wrong)?;
                )+
                match segments.next() {
                    None => Ok(Self { $($field),+ }),
                    Some(_) => Err(wrong()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // In pieces: names are written for every message, and a template would be read each time.
                let mut separator = "";
                $(
                    f.write_str(separator)?;
                    f.write_str(concat!($collection, "/"))?;
                    fmt::Display::fmt(&self.$field, f)?;
                    separator = "/";
                )+
                let _ = separator;
                Ok(())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{self}\"")
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.to_text())
            }
        }

        impl $name {
            /// What [`fmt::Display`] shows, in one allocation.
            #[must_use]
            pub fn to_text(&self) -> String {
                let mut text = String::with_capacity(NAME_BYTES);
                // Writing to a string fails never.
                let _ = write!(text, "{self}");
                text
            }
        }
    };
}

name!(
    /// `projects/{project}`.
    ProjectName { "projects" / project: ProjectId }, "a project name, projects/{project}"
);
name!(
    /// `projects/{project}/apiKeys/{api_key}`.
    ApiKeyName { "projects" / project: ProjectId, "apiKeys" / api_key: ApiKeyId },
    "an API key name, projects/{project}/apiKeys/{api_key}"
);
name!(
    /// `projects/{project}/workflows/{workflow}`.
    WorkflowName { "projects" / project: ProjectId, "workflows" / workflow: WorkflowId },
    "a workflow name, projects/{project}/workflows/{workflow}"
);
name!(
    /// `projects/{project}/workflows/{workflow}/versions/{version}`.
    WorkflowVersionName {
        "projects" / project: ProjectId, "workflows" / workflow: WorkflowId, "versions" / version: u64
    },
    "a workflow version name, projects/{project}/workflows/{workflow}/versions/{version}"
);
name!(
    /// `projects/{project}/executions/{execution}`.
    ExecutionName { "projects" / project: ProjectId, "executions" / execution: ExecutionId },
    "an execution name, projects/{project}/executions/{execution}"
);
name!(
    /// `projects/{project}/workflows/{workflow}/subscriptions/{subscription}`.
    SubscriptionName {
        "projects" / project: ProjectId, "workflows" / workflow: WorkflowId, "subscriptions" / subscription: SubscriptionId
    },
    "a subscription name, projects/{project}/workflows/{workflow}/subscriptions/{subscription}"
);
name!(
    /// `projects/{project}/workflows/{workflow}/deliveries/{delivery}`.
    DeliveryName {
        "projects" / project: ProjectId, "workflows" / workflow: WorkflowId, "deliveries" / delivery: DeliveryId
    },
    "a delivery name, projects/{project}/workflows/{workflow}/deliveries/{delivery}"
);
name!(
    /// `projects/{project}/secrets/{secret}`.
    SecretName { "projects" / project: ProjectId, "secrets" / secret: SecretId },
    "a secret name, projects/{project}/secrets/{secret}"
);
name!(
    /// `nodes/{node}`.
    NodeName { "nodes" / node: NodeId }, "a node name, nodes/{node}"
);
name!(
    /// `enrollmentTokens/{enrollment_token}`.
    EnrollmentTokenName { "enrollmentTokens" / enrollment_token: EnrollmentTokenId },
    "an enrollment token's name, enrollmentTokens/{enrollment_token}"
);

impl ApiKeyName {
    /// The key that `reference` names in a definition of `project`: an id, or a resource name of that same project.
    ///
    /// # Errors
    /// When it is neither.
    pub fn from_reference(reference: &str, project: &ProjectId) -> Result<Self, IdError> {
        if !reference.contains('/') {
            return Ok(Self {
                project: project.clone(),
                api_key: reference.parse()?,
            });
        }
        let name: Self = reference.parse()?;
        if name.project == *project {
            Ok(name)
        } else {
            Err(IdError::new(
                reference,
                "an API key of the workflow's own project",
            ))
        }
    }
}
