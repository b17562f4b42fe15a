//! Links that nodes make, for the steps that send them.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use signalbox_model::{link::Link, signal::ApprovalDecision};

use super::*;
use crate::auth::{Links, Tokens};

/// A node's key.
struct Key {
    document: Vec<u8>,
    public: Vec<u8>,
}

impl Key {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        Self {
            document: document.as_ref().to_vec(),
            public: pair.public_key().as_ref().to_vec(),
        }
    }

    /// As the node `node` signs.
    fn sign(&self, node: &str, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(node.to_owned());
        encode(&header, claims, &EncodingKey::from_ed_der(&self.document)).unwrap()
    }
}

fn claims(execution: &str) -> Value {
    let name = format!("projects/default/executions/{execution}");
    let now = jiff::Timestamp::now().as_second();
    let link = Link::new(
        "tell",
        uuid::Uuid::from_u128(7),
        (now, now + 3600),
        (&name.parse().unwrap(), &"ask[0]".parse().unwrap()),
        ApprovalDecision::Approved,
    );
    serde_json::to_value(link).unwrap()
}

/// `claims` with another value.
fn with(mut claims: Value, field: &str, value: impl Into<Value>) -> Value {
    claims[field] = value.into();
    claims
}

struct World {
    app: App,
    tokens: Tokens,
    links: Links,
    _dir: tempfile::TempDir,
}

impl World {
    /// With the executions x1 at n1 and x2 at n2.
    async fn start(store: Store) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = signalbox_runtime::data_dir::DataDir::open(dir.path().join("d")).unwrap();
        let tokens = Tokens::open(store.clone(), Arc::new(data), false).await;
        let tokens = tokens.unwrap();
        let app = app(store.clone());
        for (execution, at) in [("x1", "n1"), ("x2", "n2")] {
            let records = [record(1, accepted(execution))];
            app.apply_records(&node(at), "i", &records, 1, decode_any)
                .await
                .unwrap();
        }
        Self {
            links: Links::new(tokens.clone(), store, None),
            app,
            tokens,
            _dir: dir,
        }
    }

    async fn connect(&self, id: &str, key: Option<&Key>) {
        let arrival = Arrival {
            link_public_key: key.map(|key| &key.public[..]),
            ..Arrival::by("s", 0)
        };
        self.app.node_connected(&node(id), arrival).await.unwrap();
    }

    /// What a link says, or why it is refused.
    async fn read(&self, token: &str) -> Result<Link, &'static str> {
        self.links.read(token).await.map_err(|error| match error {
            Error::Unauthenticated { reason, .. } | Error::Precondition { reason, .. } => reason,
            other => panic!("{other:?}"),
        })
    }
}

#[tokio::test]
async fn links_of_nodes_count_for_executions_that_are_at_them() {
    each_database(async |store| {
        let world = World::start(store).await;
        let (one, other) = (Key::new(), Key::new());
        let good = one.sign("n1", &claims("x1"));
        assert_eq!(
            world.read(&good).await,
            Err("TOKEN_SIGNATURE_INVALID"),
            "none is known"
        );
        world.connect("n1", Some(&one)).await;
        world.connect("n2", Some(&other)).await;
        world.connect("n3", None).await;
        let link = world.read(&good).await.unwrap();
        assert_eq!(
            (link.sub.as_str(), link.step.to_string().as_str()),
            ("tell", "ask[0]")
        );
        assert_eq!(link.decision, ApprovalDecision::Approved);
        assert_eq!(
            world
                .read(&other.sign("n2", &claims("x2")))
                .await
                .unwrap()
                .execution
                .execution
                .as_str(),
            "x2"
        );

        let past = jiff::Timestamp::now().as_second() - 3600;
        for (token, why) in [
            // Another's key, and names of which none is known.
            (other.sign("n1", &claims("x1")), "TOKEN_SIGNATURE_INVALID"),
            (one.sign("n2", &claims("x2")), "TOKEN_SIGNATURE_INVALID"),
            (one.sign("n3", &claims("x1")), "TOKEN_SIGNATURE_INVALID"),
            (one.sign("n4", &claims("x1")), "TOKEN_SIGNATURE_INVALID"),
            (
                one.sign("No Node", &claims("x1")),
                "TOKEN_SIGNATURE_INVALID",
            ),
            (
                one.sign("n1", &with(claims("x1"), "exp", past)),
                "TOKEN_EXPIRED",
            ),
            (
                one.sign("n1", &with(claims("x1"), "aud", "signalbox")),
                "TOKEN_AUDIENCE",
            ),
            (
                one.sign("n1", &with(claims("x1"), "iss", "other")),
                "TOKEN_ISSUER",
            ),
            (
                one.sign("n1", &with(claims("x1"), "step", "")),
                "TOKEN_MALFORMED",
            ),
            (
                one.sign("n1", &with(claims("x1"), "exp", i64::MAX)),
                "TOKEN_MALFORMED",
            ),
            // An execution at another node, and one that is not known (yet).
            (one.sign("n1", &claims("x2")), "LINK_NODE"),
            (one.sign("n1", &claims("x9")), "NOT_WAITING"),
        ] {
            assert_eq!(world.read(&token).await.err(), Some(why), "{token}");
        }
        let none = Header::new(Algorithm::HS256);
        let none = encode(&none, &claims("x1"), &EncodingKey::from_secret(&one.public)).unwrap();
        assert_eq!(world.read(&none).await.err(), Some("TOKEN_ALGORITHM"));
        // It is no token of the API's.
        assert!(world.tokens.verify(&good).is_err());
    })
    .await;
}

#[tokio::test]
async fn a_link_counts_as_long_as_its_node_has_its_key_and_nobody_revoked_either() {
    each_database(async |store| {
        let world = World::start(store.clone()).await;
        let (key, another) = (Key::new(), Key::new());
        world.connect("n1", Some(&key)).await;
        let link = key.sign("n1", &claims("x1"));
        // A node of an earlier version says none, and what is known stays.
        world.connect("n1", None).await;
        world.read(&link).await.unwrap();
        world.connect("n1", Some(&another)).await;
        assert_eq!(
            world.read(&link).await.err(),
            Some("TOKEN_SIGNATURE_INVALID")
        );
        world.connect("n1", Some(&key)).await;
        world.read(&link).await.unwrap();

        let id = uuid::Uuid::from_u128(8).to_string();
        let revoked = key.sign("n1", &with(claims("x1"), "jti", json!(id)));
        world.read(&revoked).await.unwrap();
        world.tokens.revoke(&actor(), &id, None, "").await.unwrap();
        assert_eq!(world.read(&revoked).await.err(), Some("TOKEN_REVOKED"));
        world.read(&link).await.unwrap();

        let identity = |revoke_time_us| NodeIdentityRow {
            node: "n1".to_owned(),
            id: "i1".to_owned(),
            public_key: key.public.clone(),
            display_name: String::new(),
            enrollment_token: "e1".to_owned(),
            enroll_time_us: 1,
            renew_time_us: 1,
            proof_time_us: 1,
            revoke_time_us,
        };
        for (revoke_time_us, expected) in [(None, None), (Some(2), Some("TOKEN_SIGNATURE_INVALID"))]
        {
            let row = identity(revoke_time_us);
            let put = store.write(async |tx| tx.put_node_identity(row).await);
            put.await.unwrap();
            assert_eq!(world.read(&link).await.err(), expected);
        }
    })
    .await;
}
