//! Nodes enroll once, renew by their keys, and are revoked, on both databases.

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use jiff::Timestamp;
use signalbox_model::enrollment::{Purpose, statement};
use signalbox_runtime::{data_dir::DataDir, shutdown::Shutdown};

use super::*;
use crate::{
    auth::{Enrolling, NewEnrollmentToken, Proof, Renewing, Tokens},
    crypto::EnrollmentSecret,
};

const TTL: Duration = Duration::from_secs(60);

/// A node's key.
pub(super) struct Key {
    node: NodeId,
    pair: Ed25519KeyPair,
}

impl Key {
    pub(super) fn new(node: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Self {
            node: node.parse().unwrap(),
            pair: Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).unwrap(),
        }
    }

    fn prove(&self, purpose: Purpose<'_>, time: Timestamp) -> Proof {
        let statement = statement(purpose, &self.node, time);
        let signature = self.pair.sign(&statement).as_ref().to_vec();
        Proof { time, signature }
    }

    fn enrolling(&self, secret: &str) -> Enrolling {
        Enrolling {
            secret: EnrollmentSecret::parse(secret).unwrap(),
            node: self.node.clone(),
            public_key: self.pair.public_key().as_ref().to_vec(),
            proof: self.prove(Purpose::Enroll(secret), Timestamp::now()),
        }
    }

    pub(super) async fn enroll(&self, tokens: &Tokens, secret: &str) -> Result<String, Error> {
        tokens.enroll(&self.enrolling(secret), TTL).await
    }

    fn renewing(&self, time: Timestamp) -> Renewing {
        Renewing {
            node: self.node.clone(),
            proof: self.prove(Purpose::Renew, time),
        }
    }

    async fn renew(&self, tokens: &Tokens) -> Result<String, Error> {
        tokens.renew(&self.renewing(Timestamp::now()), TTL).await
    }
}

async fn tokens(store: &Store, dir: &Path, has_replicas: bool) -> Tokens {
    let data = DataDir::open(dir.join(uuid::Uuid::new_v4().to_string())).unwrap();
    Tokens::open(store.clone(), Arc::new(data), has_replicas)
        .await
        .unwrap()
}

async fn secret(tokens: &Tokens, node: Option<&str>) -> String {
    let new = NewEnrollmentToken {
        node: node.map(|node| node.parse().unwrap()),
        ..NewEnrollmentToken::default()
    };
    let created = tokens.create_enrollment_token(&actor(), new).await;
    created.unwrap().1.expose().to_owned()
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::Denied { reason, .. } | Error::Unauthenticated { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

/// What the audit log says of enrollments, the newest first.
async fn audited(store: &Store) -> Vec<(String, String)> {
    let filter = AuditFilter::default();
    let page = store.audits(None, &filter, &Page::first(100)).await;
    let of = |entry: signalbox_model::audit::Entry| {
        let refused = entry.changes.iter().find(|it| it.field == "refused");
        let what = refused.and_then(|it| it.after.clone()).unwrap_or_default();
        (entry.action, what)
    };
    let rows = page.unwrap().rows.into_iter().map(|row| of(row.entry));
    rows.filter(|(action, _)| action == "EnrollNode").collect()
}

#[tokio::test]
async fn a_token_makes_one_node_on_both_databases() {
    each_database(async |store| {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(&store, dir.path(), false).await;
        let own = Key::new("n1");
        let used = secret(&tokens, None).await;
        let jwt = own.enroll(&tokens, &used).await.unwrap();
        let identity = tokens.verify(&jwt).unwrap();
        assert_eq!(identity.subject, "n1");
        let of_node = identity.token.unwrap().of_node.unwrap();
        assert_eq!(of_node.node, own.node);
        // Known from now on, though it has not come.
        let known = store.node(&own.node).await.unwrap();
        assert!(!known.connected);
        assert_eq!(audited(&store).await.len(), 1);

        // Again by the same key: the answer was lost. The same message again is none of its own.
        let asked = own.enrolling(&used);
        let again = tokens.enroll(&asked, TTL).await.unwrap();
        let again = tokens.verify(&again).unwrap().token.unwrap();
        assert_eq!(again.of_node, Some(of_node));
        assert_eq!(denied(tokens.enroll(&asked, TTL).await), "PROOF_REPLAYED");

        // Anybody else is refused, and it is noted; not for ever.
        let other = Key::new("n2");
        let thief = Key::new("n1");
        for _ in 0..8 {
            for key in [&other, &thief] {
                let refused = denied(key.enroll(&tokens, &used).await);
                assert_eq!(refused, "ENROLLMENT_TOKEN_USED");
            }
        }
        let noted = audited(&store).await;
        assert_eq!(noted.len(), 1 + 10, "{noted:?}");
        assert_eq!(noted[0].1, "\"ENROLLMENT_TOKEN_USED\"");

        // A token for any node is none for one that has an identity; one for another node is none, either.
        let any = secret(&tokens, None).await;
        assert_eq!(denied(thief.enroll(&tokens, &any).await), "NODE_ENROLLED");
        let for_another = secret(&tokens, Some("n3")).await;
        let refused = denied(other.enroll(&tokens, &for_another).await);
        assert_eq!(refused, "ENROLLMENT_TOKEN_FOR_ANOTHER");
        other.enroll(&tokens, &any).await.unwrap();

        let made_up = EnrollmentSecret::generate().unwrap();
        let refused = denied(own.enroll(&tokens, made_up.expose()).await);
        assert_eq!(refused, "ENROLLMENT_TOKEN_UNKNOWN");
        // A proof by another key, or for another token.
        let mut asked = Key::new("n3").enrolling(&for_another);
        asked.public_key = own.pair.public_key().as_ref().to_vec();
        assert_eq!(denied(tokens.enroll(&asked, TTL).await), "IDENTITY_UNKNOWN");
        let mut asked = own.enrolling(made_up.expose());
        asked.secret = EnrollmentSecret::parse(&for_another).unwrap();
        assert_eq!(denied(tokens.enroll(&asked, TTL).await), "IDENTITY_UNKNOWN");
    })
    .await;
}

#[tokio::test]
async fn a_node_renews_by_its_key_until_it_is_revoked_on_both_databases() {
    each_database(async |store| {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(&store, dir.path(), false).await;
        let own = Key::new("n1");
        assert_eq!(denied(own.renew(&tokens).await), "IDENTITY_UNKNOWN");
        let secret_of_own = secret(&tokens, None).await;
        let first = own.enroll(&tokens, &secret_of_own).await.unwrap();
        let second = own.renew(&tokens).await.unwrap();
        tokens.verify(&first).unwrap();
        tokens.verify(&second).unwrap();

        let asked = own.renewing(Timestamp::now());
        tokens.renew(&asked, TTL).await.unwrap();
        assert_eq!(denied(tokens.renew(&asked, TTL).await), "PROOF_REPLAYED");
        let earlier = asked.proof.time - Duration::from_micros(1);
        let earlier = own.renewing(earlier);
        assert_eq!(denied(tokens.renew(&earlier, TTL).await), "PROOF_REPLAYED");
        for off in [-301, 301] {
            let off = own.renewing(Timestamp::now() + jiff::SignedDuration::from_secs(off));
            assert_eq!(denied(tokens.renew(&off, TTL).await), "PROOF_TIME");
        }
        let thief = Key::new("n1");
        assert_eq!(denied(thief.renew(&tokens).await), "IDENTITY_UNKNOWN");
        let mut asked = own.renewing(Timestamp::now());
        asked.node = node("n2");
        assert_eq!(denied(tokens.renew(&asked, TTL).await), "IDENTITY_UNKNOWN");

        tokens.revoke_node(&actor(), &own.node).await.unwrap();
        for jwt in [&first, &second] {
            assert_eq!(denied(tokens.verify(jwt)), "TOKEN_REVOKED");
        }
        assert_eq!(denied(own.renew(&tokens).await), "NODE_REVOKED");
        let refused = denied(own.enroll(&tokens, &secret_of_own).await);
        assert_eq!(refused, "ENROLLMENT_TOKEN_USED");
        let any = secret(&tokens, None).await;
        assert_eq!(denied(own.enroll(&tokens, &any).await), "NODE_ENROLLED");

        // Back by a token that names it; what it had before stays ended.
        let back = secret(&tokens, Some("n1")).await;
        let third = own.enroll(&tokens, &back).await.unwrap();
        tokens.verify(&third).unwrap();
        assert_eq!(denied(tokens.verify(&second)), "TOKEN_REVOKED");
        // A new key in the place of one that was lost ends the old one's tokens.
        let anew = Key::new("n1");
        let back = secret(&tokens, Some("n1")).await;
        let fourth = anew.enroll(&tokens, &back).await.unwrap();
        assert_eq!(denied(tokens.verify(&third)), "TOKEN_REVOKED");
        assert_eq!(denied(own.renew(&tokens).await), "IDENTITY_UNKNOWN");
        tokens.verify(&fourth).unwrap();

        let unknown = tokens.revoke_node(&actor(), &node("nobody")).await;
        assert!(matches!(unknown, Err(Error::NotFound { .. })), "{unknown:?}");
        let arrival = Arrival::by("s", 0);
        let came = store.write(async |tx| tx.node_connected(&node("plain"), arrival).await);
        came.await.unwrap();
        let plain = tokens.revoke_node(&actor(), &node("plain")).await;
        assert!(
            matches!(&plain, Err(Error::Precondition { reason, .. }) if *reason == "NODE_NOT_ENROLLED"),
            "{plain:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn tokens_have_an_end_and_are_forgotten() {
    each_database(async |store| {
        let dir = tempfile::tempdir().unwrap();
        let tokens = tokens(&store, dir.path(), false).await;
        for ttl in [Duration::ZERO, Duration::from_secs(7 * 86_400 + 1)] {
            let new = NewEnrollmentToken {
                ttl: Some(ttl),
                ..NewEnrollmentToken::default()
            };
            let refused = tokens.create_enrollment_token(&actor(), new).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        let soon = NewEnrollmentToken {
            ttl: Some(Duration::from_micros(1)),
            ..NewEnrollmentToken::default()
        };
        let (row, over) = tokens
            .create_enrollment_token(&actor(), soon)
            .await
            .unwrap();
        let refused = denied(Key::new("n1").enroll(&tokens, over.expose()).await);
        assert_eq!(refused, "ENROLLMENT_TOKEN_EXPIRED");

        let all = tokens.enrollment_tokens(&Page::first(10)).await.unwrap();
        assert_eq!(all.rows.len(), 1);
        let id = row.id.parse().unwrap();
        tokens.delete_enrollment_token(&actor(), &id).await.unwrap();
        let refused = denied(Key::new("n1").enroll(&tokens, over.expose()).await);
        assert_eq!(refused, "ENROLLMENT_TOKEN_UNKNOWN");
        let gone = tokens.delete_enrollment_token(&actor(), &id).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");

        let now_us = Timestamp::now().as_microsecond();
        let row = |id: &str, expire_time_us| EnrollmentTokenRow {
            id: id.into(),
            digest: id.as_bytes().to_vec(),
            expire_time_us,
            refusals: 0,
            ..row.clone()
        };
        let rows = [row("a", now_us - 2), row("b", now_us), row("c", now_us)];
        let inserted = store.write(async |tx| {
            let mut last = Ok(());
            for row in rows {
                last = tx
                    .insert_enrollment_token(row, now_us - 1, 2)
                    .await
                    .map(|_| ());
            }
            last
        });
        // The first is forgotten with the second; each of the others counts.
        inserted.await.unwrap();
        let more = store.write(async |tx| {
            tx.insert_enrollment_token(row("d", now_us), now_us - 1, 2)
                .await
        });
        let more = more.await;
        assert!(matches!(more, Err(Error::Exhausted { .. })), "{more:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_all_who_present_a_token_at_once_one_enrolls() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let store = Store::open_url(&postgres.url()).await.unwrap();
        replicas.push((tokens(&store, dir.path(), true).await, store));
    }
    let used = secret(&replicas[0].0, None).await;
    let tries = (0..8).map(|number| {
        let tokens = replicas[number % 2].0.clone();
        let used = used.clone();
        tokio::spawn(async move {
            let key = Key::new(&format!("n{number}"));
            key.enroll(&tokens, &used).await
        })
    });
    let mut enrolled: Vec<String> = Vec::new();
    for tried in futures::future::join_all(tries).await {
        match tried.unwrap() {
            Ok(jwt) => enrolled.push(jwt),
            refused => assert_eq!(denied(refused), "ENROLLMENT_TOKEN_USED"),
        }
    }
    assert_eq!(enrolled.len(), 1);

    // Its token is good at the other replica, until the node is revoked at the first.
    let jwt = enrolled.remove(0);
    let identity = replicas[1].0.identify(&jwt).await.unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(replicas[1].0.clone().follow(shutdown.clone()));
    let node = identity.subject.parse().unwrap();
    replicas[0].0.revoke_node(&actor(), &node).await.unwrap();
    let start = std::time::Instant::now();
    while replicas[1].0.verify(&jwt).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(10), "it is not seen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eprintln!("revoked at the other replica after {:?}", start.elapsed());
    shutdown.stop();

    // And of all who make the same node, one does.
    let (mut secrets, mut enrolled) = (Vec::new(), 0);
    for _ in 0..4 {
        secrets.push(secret(&replicas[1].0, None).await);
    }
    let tries = secrets.into_iter().enumerate().map(|(number, secret)| {
        let tokens = replicas[number % 2].0.clone();
        tokio::spawn(async move { Key::new("same").enroll(&tokens, &secret).await })
    });
    for tried in futures::future::join_all(tries).await {
        match tried.unwrap() {
            Ok(_) => enrolled += 1,
            refused => assert_eq!(denied(refused), "NODE_ENROLLED"),
        }
    }
    assert_eq!(enrolled, 1);
}
