//! Takes nodes in, and gives them their tokens (`EnrollmentService`). Whoever calls has no token yet: the request proves itself.

use std::time::Duration;

use signalbox_model::{
    enrollment::{PUBLIC_KEY_BYTES, SIGNATURE_BYTES},
    error::Error,
    ids::NodeId,
};
use signalbox_proto::{
    convert::{status::to_status, time},
    dataplane::v1::{
        self as wire,
        enrollment_service_server::{EnrollmentService, EnrollmentServiceServer},
    },
};
use tonic::{Request, Response, Status};

use crate::{
    auth::{Enrolling, Proof, Renewing, Tokens},
    crypto::EnrollmentSecret,
};

/// Size of a request: anybody may send one.
const REQUEST_MAX_BYTES: usize = 4 * 1024;

/// The service.
#[derive(Clone, Debug)]
pub struct Enrollments {
    tokens: Tokens,
    token_ttl: Duration,
}

impl Enrollments {
    /// Whose tokens count for `token_ttl`.
    #[must_use]
    pub fn new(tokens: Tokens, token_ttl: Duration) -> Self {
        Self { tokens, token_ttl }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> EnrollmentServiceServer<Self> {
        EnrollmentServiceServer::new(self.clone()).max_decoding_message_size(REQUEST_MAX_BYTES)
    }

    fn token(&self, jwt: String) -> wire::NodeToken {
        wire::NodeToken {
            jwt,
            lifetime: Some(time::duration_to_wire(self.token_ttl)),
        }
    }

    async fn enroll(&self, asked: wire::EnrollNodeRequest) -> Result<String, Error> {
        let secret = EnrollmentSecret::parse(&asked.enrollment_token).ok_or_else(|| {
            let what = "is no enrollment token (sbe_…), or not all of one";
            Error::invalid("enrollment_token", what)
        })?;
        let asked = Enrolling {
            secret,
            node: node(&asked.node_id)?,
            public_key: exactly::<PUBLIC_KEY_BYTES>("public_key", &asked.public_key)?,
            proof: proof(asked.proof)?,
        };
        self.tokens.enroll(&asked, self.token_ttl).await
    }

    async fn renew(&self, asked: wire::RenewNodeTokenRequest) -> Result<String, Error> {
        let asked = Renewing {
            node: node(&asked.node_id)?,
            proof: proof(asked.proof)?,
        };
        self.tokens.renew(&asked, self.token_ttl).await
    }
}

fn node(id: &str) -> Result<NodeId, Error> {
    id.parse().map_err(|error: signalbox_model::ids::IdError| {
        Error::invalid("node_id", error.to_string())
    })
}

fn exactly<const N: usize>(field: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    match bytes.len() == N {
        true => Ok(bytes.to_vec()),
        false => Err(Error::invalid(field, format!("has not {N} bytes"))),
    }
}

fn proof(proof: Option<wire::Proof>) -> Result<Proof, Error> {
    let proof = proof.ok_or_else(|| Error::invalid("proof", "is missing"))?;
    let time = time::required("proof.time", proof.time)
        .map_err(|error| Error::invalid("proof.time", error.to_string()))?;
    let signature = exactly::<SIGNATURE_BYTES>("proof.signature", &proof.signature)?;
    Ok(Proof { time, signature })
}

fn count(method: &'static str, result: &Result<String, Error>) {
    let outcome = match result {
        Ok(_) => "given",
        Err(Error::Denied { .. } | Error::Invalid(_)) => "refused",
        Err(_) => "failed",
    };
    metrics::counter!("signalbox_node_tokens_total", "method" => method, "outcome" => outcome)
        .increment(1);
}

#[tonic::async_trait]
impl EnrollmentService for Enrollments {
    async fn enroll_node(
        &self,
        request: Request<wire::EnrollNodeRequest>,
    ) -> Result<Response<wire::EnrollNodeResponse>, Status> {
        let enrolled = self.enroll(request.into_inner()).await;
        count("EnrollNode", &enrolled);
        let token = Some(self.token(enrolled.map_err(to_status)?));
        Ok(Response::new(wire::EnrollNodeResponse { token }))
    }

    async fn renew_node_token(
        &self,
        request: Request<wire::RenewNodeTokenRequest>,
    ) -> Result<Response<wire::RenewNodeTokenResponse>, Status> {
        let renewed = self.renew(request.into_inner()).await;
        count("RenewNodeToken", &renewed);
        let token = Some(self.token(renewed.map_err(to_status)?));
        Ok(Response::new(wire::RenewNodeTokenResponse { token }))
    }
}
