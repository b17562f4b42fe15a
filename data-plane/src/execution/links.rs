//! The links of approvals that steps send: signed by the node itself, so that it needs no control plane for them.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use signalbox_engine::{LinkMaker, codes};
use signalbox_model::{execution::Failure, ids::NodeId, link::Link};
use signalbox_runtime::data_dir::{DataDir, DataDirError};

use crate::config::ConfigStore;

/// Name of the key's file in the data folder: an Ed25519 private key, PKCS#8 in DER (RFC 8410).
pub const LINK_KEY_FILE: &str = "links.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum LinkKeyError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// What is in the file is no key.
    #[error(
        "the file {0} holds no Ed25519 key; without it a new one is made, and links that were sent before count no more"
    )]
    Malformed(String),
    /// No randomness.
    #[error("a key for links cannot be made")]
    Generate,
}

/// What a node signs links with. The private half does not leave its folder.
pub struct LinkKey {
    encoding: EncodingKey,
    public: Bytes,
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(***)")
    }
}

impl LinkKey {
    /// The one in a data folder; made when there is none, readable by the folder's owner alone.
    ///
    /// # Errors
    /// [`LinkKeyError`].
    pub fn load_or_create(data_dir: &DataDir) -> Result<Self, LinkKeyError> {
        if let Some(document) = data_dir.read(LINK_KEY_FILE)? {
            let path = || data_dir.join(LINK_KEY_FILE).display().to_string();
            return Self::of(&document).ok_or_else(|| LinkKeyError::Malformed(path()));
        }
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| LinkKeyError::Generate)?;
        let key = Self::of(document.as_ref()).ok_or(LinkKeyError::Generate)?;
        data_dir.write_secret_file(LINK_KEY_FILE, document.as_ref())?;
        Ok(key)
    }

    fn of(document: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document).ok()?;
        Some(Self {
            encoding: EncodingKey::from_ed_der(document),
            public: Bytes::copy_from_slice(pair.public_key().as_ref()),
        })
    }

    /// The public half, 32 bytes.
    #[must_use]
    pub fn public(&self) -> &Bytes {
        &self.public
    }
}

/// Makes a node's links.
#[derive(Debug)]
pub struct NodeLinks {
    node: NodeId,
    key: LinkKey,
    config: Arc<ConfigStore>,
}

impl NodeLinks {
    /// Links of `node`, which lead where `config` says.
    #[must_use]
    pub fn new(node: NodeId, key: LinkKey, config: Arc<ConfigStore>) -> Self {
        Self { node, key, config }
    }
}

impl LinkMaker for NodeLinks {
    fn public_url(&self) -> Option<Arc<str>> {
        self.config.public_url()
    }

    fn sign(&self, link: &Link) -> Result<String, Failure> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.node.to_string());
        encode(&header, link, &self.key.encoding).map_err(|error| {
            tracing::error!(%error, "a link cannot be signed");
            Failure::new(codes::INTERNAL, "the link cannot be signed")
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
    use signalbox_model::signal::ApprovalDecision;

    use super::*;

    fn folder(dir: &tempfile::TempDir) -> DataDir {
        DataDir::open(dir.path().join("d")).unwrap()
    }

    #[test]
    fn a_key_is_made_once_and_read_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = folder(&dir);
        let made = LinkKey::load_or_create(&data_dir).unwrap();
        let read = LinkKey::load_or_create(&data_dir).unwrap();
        assert_eq!((made.public().len(), made.public()), (32, read.public()));
        assert_eq!(format!("{read:?}"), "LinkKey(***)");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let file = std::fs::metadata(data_dir.join(LINK_KEY_FILE)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
        }
        data_dir.write_secret_file(LINK_KEY_FILE, b"rot").unwrap();
        let error = LinkKey::load_or_create(&data_dir).unwrap_err();
        assert!(error.to_string().contains(LINK_KEY_FILE), "{error}");
    }

    #[test]
    fn a_link_is_signed_as_its_node_and_the_same_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = folder(&dir);
        let key = LinkKey::load_or_create(&data_dir).unwrap();
        let x = URL_SAFE_NO_PAD.encode(key.public());
        let config = ConfigStore::open(data_dir.path(), |_| Err("nothing".to_owned())).unwrap();
        let config = Arc::new(config);
        let links = NodeLinks::new("n1".parse().unwrap(), key, config.clone());
        assert_eq!(links.public_url(), None);
        config.set_public_url("https://box.example.com").unwrap();
        assert_eq!(
            links.public_url().as_deref(),
            Some("https://box.example.com")
        );

        let name = "projects/p/executions/x1".parse().unwrap();
        let run = "ask[2]".parse().unwrap();
        let link = Link::new(
            "tell",
            uuid::Uuid::from_u128(7),
            (1, 9_999_999_999),
            (&name, &run),
            ApprovalDecision::Rejected,
        );
        let token = links.sign(&link).unwrap();
        assert_eq!(links.sign(&link).unwrap(), token);
        assert_eq!(decode_header(&token).unwrap().kid.as_deref(), Some("n1"));
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[signalbox_model::link::AUDIENCE]);
        let decoding = DecodingKey::from_ed_components(&x).unwrap();
        assert_eq!(
            decode::<Link>(&token, &decoding, &validation)
                .unwrap()
                .claims,
            link
        );
    }
}
