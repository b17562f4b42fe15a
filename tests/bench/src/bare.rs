//! The two servers to compare with: hyper that answers 200 once it has read the body, and the same after one
//! RSA-2048/SHA-256 verification of that very message.
//!
//! The second parses nothing: it is told where the parts of a message stand (all have one layout), takes them from the
//! body that came, puts the string to sign together, decodes the signature and verifies it; a message that fails is
//! answered 403. So it does what no receiver that verifies can do without, and nothing else.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{
    corpus::{Key, string_to_sign},
    request::Layout,
};

/// What the server that verifies is told, in a file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Verify {
    layout: Layout,
    /// DER of the RSAPublicKey.
    public_key: Vec<u8>,
}

impl Verify {
    /// Messages of `layout` that are signed by `key`.
    pub(crate) fn new(layout: Layout, key: &Key) -> Result<Self> {
        let pair = RsaKeyPair::from_pkcs8(key.signer.pkcs8());
        let pair = pair.ok().context("no RSA key")?;
        Ok(Self {
            layout,
            public_key: pair.public_key().as_ref().to_vec(),
        })
    }
}

/// One bare server, a process of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct BareArgs {
    #[arg(long)]
    listen: SocketAddr,
    /// Verify, as this file says.
    #[arg(long)]
    verify: Option<PathBuf>,
}

/// Verifies without parsing.
pub(crate) struct Verifier {
    layout: Layout,
    key: ParsedPublicKey,
}

impl TryFrom<Verify> for Verifier {
    type Error = anyhow::Error;

    fn try_from(told: Verify) -> Result<Self> {
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, told.public_key);
        Ok(Self {
            layout: told.layout,
            key: key.ok().context("no RSA key")?,
        })
    }
}

impl Verifier {
    /// Something, if the message was signed by the key.
    pub(crate) fn is_signed(&self, body: &[u8]) -> Option<()> {
        let part = |(from, to): (usize, usize)| body.get(from..to);
        let layout = &self.layout;
        let text = string_to_sign(
            part(layout.message)?,
            part(layout.id)?,
            part(layout.timestamp)?,
            part(layout.topic)?,
        );
        let signature = STANDARD.decode(part(layout.signature)?).ok()?;
        self.key.verify_sig(&text, &signature).ok()
    }
}

/// Serves until it is killed.
pub(crate) async fn run(args: &BareArgs) -> Result<()> {
    let verifier = match &args.verify {
        Some(path) => {
            let told: Verify = serde_json::from_slice(&std::fs::read(path)?)?;
            Some(Arc::new(Verifier::try_from(told)?))
        }
        None => None,
    };
    let listener = TcpListener::bind(args.listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let verifier = verifier.clone();
        let service = service_fn(move |request| answer(request, verifier.clone()));
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn answer(
    request: Request<Incoming>,
    verifier: Option<Arc<Verifier>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
    let refused = match request.into_body().collect().await {
        Ok(body) => verifier.is_some_and(|verifier| verifier.is_signed(&body.to_bytes()).is_none()),
        Err(_) => true,
    };
    if refused {
        *response.status_mut() = StatusCode::FORBIDDEN;
    }
    Ok(response)
}
