//! An OpenID Connect provider of the tests' own: metadata, a key set and tokens, over HTTP or TLS; it misbehaves on demand.

use std::{
    convert::Infallible,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData as _, RsaKeySize};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::planes::install_crypto;

/// A key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    /// Its id.
    pub id: String,
    /// What it signs with, unless told otherwise.
    pub algorithm: Algorithm,
    /// Its public half as anybody can have it: PEM, and DER.
    pub public: [Vec<u8>; 2],
    encoding: EncodingKey,
}

impl SigningKey {
    /// An RSA key.
    #[must_use]
    pub fn rsa(id: &str) -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let encoding = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self::new(id, Algorithm::RS256, &pair, encoding)
    }

    /// A key on P-256.
    #[must_use]
    pub fn ec(id: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let encoding = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self::new(id, Algorithm::ES256, &pair, encoding)
    }

    fn new(id: &str, algorithm: Algorithm, pair: &KeyPair, encoding: EncodingKey) -> Self {
        Self {
            id: id.to_owned(),
            algorithm,
            public: [
                pair.public_key_pem().into_bytes(),
                pair.subject_public_key_info(),
            ],
            encoding,
        }
    }

    /// The same key by another name.
    #[must_use]
    pub fn named(&self, id: &str) -> Self {
        let mut key = self.clone();
        id.clone_into(&mut key.id);
        key
    }

    /// The token that says `claims`.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(self.algorithm, claims)
    }

    /// The same by another algorithm of its kind.
    #[must_use]
    pub fn sign_with(&self, algorithm: Algorithm, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.encoding, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.clone());
        // RSA keys sign by whichever algorithm of theirs.
        jwk.common.key_algorithm = None;
        serde_json::to_value(jwk).unwrap()
    }
}

/// How a provider misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its metadata is another issuer's.
    OtherIssuer,
    /// Its keys are where nobody should look: over plain HTTP, elsewhere.
    KeysInTheClear,
    /// Its keys have moved: 302.
    Redirect,
    /// Its key set does not end.
    Flood,
    /// Its key set is no JSON.
    Garbage,
}

struct Shared {
    issuer: String,
    keys: Mutex<Vec<Value>>,
    fault: Option<Fault>,
    is_away: AtomicBool,
    fetches: AtomicUsize,
}

/// A running provider.
#[derive(Clone)]
pub struct Provider {
    /// What its tokens say in `iss`.
    pub issuer: String,
    /// The authority of its certificate, when it speaks TLS.
    pub ca_file: Option<PathBuf>,
    shared: Arc<Shared>,
}

impl Provider {
    /// Over HTTP.
    pub async fn http(fault: Option<Fault>) -> Self {
        Self::start("http://127.0.0.1", None, fault).await
    }

    /// Over TLS, with a certificate whose authority is written to `dir`.
    pub async fn https(dir: &Path) -> Self {
        install_crypto();
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let ca_file = dir.join("provider-ca.pem");
        std::fs::write(&ca_file, pair.cert.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.signing_key.serialize_pem().as_bytes());
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key.unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut provider = Self::start("https://localhost", Some(acceptor), None).await;
        provider.ca_file = Some(ca_file);
        provider
    }

    async fn start(origin: &str, tls: Option<TlsAcceptor>, fault: Option<Fault>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            issuer: format!("{origin}:{port}/realm"),
            keys: Mutex::default(),
            fault,
            is_away: AtomicBool::new(false),
            fetches: AtomicUsize::new(0),
        });
        let kept = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if kept.is_away.load(Ordering::SeqCst) {
                    continue;
                }
                let (shared, tls) = (kept.clone(), tls.clone());
                let service = service_fn(move |request| answer(request, shared.clone()));
                tokio::spawn(async move {
                    // One request a connection: who is away is away at once.
                    let mut http = http1::Builder::new();
                    http.keep_alive(false);
                    match tls {
                        None => http.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => {
                                http.serve_connection(TokioIo::new(stream), service).await
                            }
                            Err(_) => Ok(()),
                        },
                    }
                });
            }
        });
        Self {
            issuer: shared.issuer.clone(),
            ca_file: None,
            shared,
        }
    }

    /// Publishes these keys, and no others.
    pub fn publish(&self, keys: &[&SigningKey]) {
        *self.shared.keys.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    /// Goes away: every connection is closed at once. Or comes back.
    pub fn set_away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How often its keys were fetched.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    /// Claims for the audience `signalbox` that count for ten minutes, changed by `more`.
    #[must_use]
    pub fn claims(&self, more: Value) -> Value {
        let now = jiff::Timestamp::now().as_second();
        let mut claims = json!({
            "iss": self.issuer, "aud": "signalbox", "sub": "ann", "iat": now, "exp": now + 600,
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    /// Its entry in the control plane's file, with `roles` as YAML.
    #[must_use]
    pub fn entry(&self, roles: &str) -> String {
        let ca = self.ca_file.as_ref();
        let ca = ca.map_or(String::new(), |file| {
            format!(" caFile: '{}',", file.display())
        });
        format!(
            "  - {{issuer: '{}', audiences: [signalbox],{ca} leeway: 5s, roles: {roles}}}\n",
            self.issuer
        )
    }
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let issuer = &shared.issuer;
    let fault = shared.fault;
    let ok = |body: String| Response::new(Full::new(Bytes::from(body)));
    Ok(match request.uri().path() {
        "/realm/.well-known/openid-configuration" => {
            let said = match fault {
                Some(Fault::OtherIssuer) => format!("{issuer}/other"),
                _ => issuer.clone(),
            };
            let keys = match fault {
                Some(Fault::KeysInTheClear) => "http://192.0.2.1/keys".to_owned(),
                _ => format!("{issuer}/keys"),
            };
            ok(json!({"issuer": said, "jwks_uri": keys}).to_string())
        }
        path @ ("/realm/keys" | "/realm/moved") => {
            shared.fetches.fetch_add(1, Ordering::SeqCst);
            let keys = json!({"keys": *shared.keys.lock().unwrap()}).to_string();
            match fault {
                Some(Fault::Redirect) if path == "/realm/keys" => Response::builder()
                    .status(302)
                    .header("location", format!("{issuer}/moved"))
                    .body(Full::default())
                    .unwrap(),
                Some(Fault::Flood) => ok(keys + &" ".repeat(4 * 1024 * 1024)),
                Some(Fault::Garbage) => ok("<html>".to_owned()),
                _ => ok(keys),
            }
        }
        _ => Response::builder()
            .status(404)
            .body(Full::default())
            .unwrap(),
    })
}
