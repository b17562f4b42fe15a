//! `Debug` of messages that hold a secret value, without it (invariant I6).

use std::fmt;

use crate::{
    dataplane::v1::{EnrollNodeRequest, NodeToken},
    v1::{
        ApprovalLinks, CreateApiKeyResponse, CreateEnrollmentTokenResponse, RevealApiKeyResponse,
        RotateApiKeyResponse, Secret,
    },
};

const HIDDEN: &str = "***";

impl fmt::Debug for ApprovalLinks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            approve_url: _,
            reject_url: _,
            step,
            expire_time,
        } = self;
        f.debug_struct("ApprovalLinks")
            .field("approve_url", &HIDDEN)
            .field("reject_url", &HIDDEN)
            .field("step", step)
            .field("expire_time", expire_time)
            .finish()
    }
}

impl fmt::Debug for CreateApiKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_key, value: _ } = self;
        f.debug_struct("CreateApiKeyResponse")
            .field("api_key", api_key)
            .field("value", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for CreateEnrollmentTokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            enrollment_token,
            secret: _,
        } = self;
        f.debug_struct("CreateEnrollmentTokenResponse")
            .field("enrollment_token", enrollment_token)
            .field("secret", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for EnrollNodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            enrollment_token: _,
            node_id,
            public_key,
            proof,
        } = self;
        f.debug_struct("EnrollNodeRequest")
            .field("enrollment_token", &HIDDEN)
            .field("node_id", node_id)
            .field("public_key", public_key)
            .field("proof", proof)
            .finish()
    }
}

impl fmt::Debug for NodeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { jwt: _, lifetime } = self;
        f.debug_struct("NodeToken")
            .field("jwt", &HIDDEN)
            .field("lifetime", lifetime)
            .finish()
    }
}

impl fmt::Debug for RevealApiKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value: _ } = self;
        f.debug_struct("RevealApiKeyResponse")
            .field("value", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for RotateApiKeyResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { api_key, value: _ } = self;
        f.debug_struct("RotateApiKeyResponse")
            .field("api_key", api_key)
            .field("value", &HIDDEN)
            .finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            value: _,
            create_time,
            update_time,
            etag,
        } = self;
        f.debug_struct("Secret")
            .field("name", name)
            .field("value", &HIDDEN)
            .field("create_time", create_time)
            .field("update_time", update_time)
            .field("etag", etag)
            .finish()
    }
}
