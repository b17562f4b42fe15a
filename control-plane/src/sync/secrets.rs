//! Secrets, sealed to the node that they are sent to.

use signalbox_model::{
    config::{Revision, SealedSecret},
    error::Error,
    ids::{IdError, SecretName},
};
use signalbox_proto::{
    convert::config::{SECRET_INFO, secret_aad, secret_to_wire},
    dataplane::v1 as wire,
};
use signalbox_runtime::hpke::{Purpose, Recipient};

use super::delta::unsendable;
use crate::{app::App, store::rows::Secret};

/// Whom a node's secrets are sealed to, by what it said of itself; a node without a key gets none.
///
/// # Errors
/// `Invalid`.
pub(super) fn recipient(hello: &wire::Hello) -> Result<Option<Recipient>, Error> {
    if hello.hpke_public_key.is_empty() {
        return Ok(None);
    }
    Recipient::new(&hello.hpke_public_key)
        .map(Some)
        .map_err(|error| Error::invalid("hello.hpke_public_key", error.to_string()))
}

/// `secrets` for the node that is `to`.
pub(super) fn sealed(app: &App, secrets: &[Secret], to: Option<&Recipient>) -> Vec<wire::Resource> {
    let Some(to) = to else {
        return Vec::new();
    };
    let mut resources = Vec::with_capacity(secrets.len());
    for row in secrets {
        match seal(app, row, to) {
            Ok(sealed) => resources.push(secret_to_wire(&sealed)),
            Err(error) => unsendable(&error),
        }
    }
    resources
}

fn seal(app: &App, row: &Secret, to: &Recipient) -> Result<SealedSecret, String> {
    let name: SecretName = format!("projects/{}/secrets/{}", row.project, row.id)
        .parse()
        .map_err(|error: IdError| error.to_string())?;
    let failed = |error: &dyn std::fmt::Display| format!("{name}: {error}");
    let revision = Revision(u64::try_from(row.revision).map_err(|e| failed(&e))?);
    let value = app.open_secret(&name, row).map_err(|e| failed(&e))?;
    let purpose = Purpose {
        info: SECRET_INFO,
        aad: &secret_aad(&name, revision),
    };
    let sealed_value = to.seal(purpose, &value).map_err(|e| failed(&e))?;
    Ok(SealedSecret {
        name,
        revision,
        sealed_value: sealed_value.into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use prost::Message as _;
    use signalbox_model::secret::Secret as Opened;
    use signalbox_proto::convert::{self, config::Reading};
    use signalbox_runtime::hpke::KeyPair;

    use super::*;
    use crate::{
        app::{Limits, Settings},
        crypto::MasterKey,
        store::{Actor, Store},
        sync::delta::Deltas,
    };

    async fn app(dir: &std::path::Path) -> App {
        let store = Store::open_at(dir, None).await.unwrap();
        let settings = Settings {
            public_webhook_url: String::new(),
            reveal_enabled: false,
            deliveries_kept_max: 1,
            history_value_max_bytes: 1024,
            history_retention: std::time::Duration::MAX,
            deleted_retention: std::time::Duration::MAX,
            quotas: Limits::USUAL,
        };
        App::new(store, MasterKey::new(&[7; 32]).unwrap(), settings)
    }

    fn open(key: &KeyPair, resource: &wire::Resource) -> Result<Vec<u8>, String> {
        let opened = convert::config::resource(
            resource.clone(),
            |_| Reading::Whole,
            |sealed| {
                let purpose = Purpose {
                    info: SECRET_INFO,
                    aad: &secret_aad(&sealed.name, sealed.revision),
                };
                let value = key.open(purpose, &sealed.sealed_value);
                Ok(Opened::new(value.map_err(|e| e.to_string())?.to_vec()))
            },
        );
        match opened.map_err(|error| error.to_string())? {
            signalbox_model::config::Resource::Secret(secret) => Ok(secret.value.expose().to_vec()),
            other => Err(format!("{other:?}")),
        }
    }

    #[tokio::test]
    async fn a_delta_is_read_once_and_its_secrets_are_sealed_to_each_node() {
        let dir = tempfile::tempdir().unwrap();
        let app = app(dir.path()).await;
        let actor = Actor {
            subject: "tester".to_owned(),
            request_id: None,
            trace_id: None,
        };
        let (project, id) = ("default".parse().unwrap(), "token".parse().unwrap());
        let row = app
            .create_secret(&actor, &project, &id, b"s3cret-value")
            .await
            .unwrap();
        let delta = Deltas::new(app.clone()).after(0).await.unwrap();
        let shared = wire::ConfigUpdate::decode(&delta.shared[..]).unwrap();
        assert_eq!((shared.upserts.len(), delta.secrets.len()), (0, 1));

        assert_eq!(
            sealed(&app, &delta.secrets, None),
            [],
            "a node without a key gets none"
        );
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let to = |key: &KeyPair| {
            let hello = wire::Hello {
                hpke_public_key: key.public_key().to_vec().into(),
                ..Default::default()
            };
            let recipient = recipient(&hello).unwrap();
            sealed(&app, &delta.secrets, recipient.as_ref()).remove(0)
        };
        let (first, second) = (to(&one), to(&other));
        assert_eq!(
            convert::config::name_of(&first),
            "projects/default/secrets/token"
        );
        assert_eq!(open(&one, &first).unwrap(), b"s3cret-value");
        assert_eq!(open(&other, &second).unwrap(), b"s3cret-value");
        assert!(open(&one, &second).is_err() && open(&other, &first).is_err());
        // What says that it is another secret, or another revision of it, does not open.
        let Some(wire::resource::Kind::Secret(secret)) = first.kind else {
            panic!("no secret");
        };
        assert_eq!(secret.revision, row.revision);
        for changed in [
            wire::SecretConfig {
                name: "projects/default/secrets/other".to_owned(),
                ..secret.clone()
            },
            wire::SecretConfig {
                revision: secret.revision + 1,
                ..secret
            },
        ] {
            let kind = Some(wire::resource::Kind::Secret(changed));
            assert!(open(&one, &wire::Resource { kind }).is_err());
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        assert!(recipient(&wire::Hello::default()).unwrap().is_none());
        let hello = wire::Hello {
            hpke_public_key: vec![1; 31].into(),
            ..Default::default()
        };
        let refused = recipient(&hello).unwrap_err().to_string();
        assert!(refused.contains("hello.hpke_public_key"), "{refused}");
    }
}
