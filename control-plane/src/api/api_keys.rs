//! `ApiKeyService`.

use jiff::Timestamp;
use prost_types::FieldMask;
use signalbox_model::{
    error::Error,
    ids::{ApiKeyName, ProjectId},
    key_scope::KeyScope,
    labels::Labels,
    rate_limit::{RateLimit, RateLimitError},
    violation::{Violation, Violations},
};
use signalbox_proto::{
    convert::{rate_limit, status::to_status, time},
    v1::{self, api_key_service_server::ApiKeyService},
};
use tonic::{Request, Response, Status};

use super::{Api, filter, map, mask, name, parent_project, required, shown};
use crate::{
    app::{Found, KeyChange, NewKey},
    auth::Caller,
    store::rows::ApiKey,
};

/// The limit that was given, if any.
fn rate_limit_of(given: &v1::ApiKey) -> Result<Option<RateLimit>, Error> {
    let Some(limit) = &given.rate_limit else {
        return Ok(None);
    };
    let wrong = match rate_limit::from_wire(limit) {
        Ok(limit) => return Ok(Some(limit)),
        Err(wrong) => wrong,
    };
    let violations = wrong.into_iter().map(|problem| {
        let part = match problem {
            RateLimitError::EventsPerSecond(_) => "events_per_second",
            RateLimitError::Burst(_) => "burst",
        };
        Violation::new(format!("api_key.rate_limit.{part}"), problem.to_string())
    });
    Err(Violations(violations.collect()).into())
}

/// When it is to stop working, if that is said.
fn expiry_of(given: &v1::ApiKey) -> Result<Option<Timestamp>, Error> {
    let at = given.expire_time;
    at.map(|at| time::from_wire("api_key.expire_time", at))
        .transpose()
        .map_err(|error| Error::invalid("api_key.expire_time", error.to_string()))
}

/// For which workflows of `project` it counts, and from where.
fn scope_of(given: &v1::ApiKey, project: &ProjectId) -> Result<KeyScope, Error> {
    KeyScope::new(project, &given.workflows, &given.source_networks).map_err(|problems| {
        let violations = problems.iter().map(|problem| {
            let field = problem.field("api_key.workflows", "api_key.source_networks");
            Violation::new(field, problem.to_string())
        });
        Violations(violations.collect()).into()
    })
}

fn labels_of(given: &v1::ApiKey) -> Result<Labels, Error> {
    Ok(Labels::new("api_key.labels", given.labels.clone())?)
}

/// What of a key can be changed.
const CHANGEABLE: [&str; 6] = [
    "display_name",
    "rate_limit",
    "expire_time",
    "labels",
    "workflows",
    "source_networks",
];

/// What `mask` names, or without one what is set (AIP-134).
fn change_of(
    given: &v1::ApiKey,
    project: &ProjectId,
    mask: Option<&FieldMask>,
) -> Result<KeyChange, Error> {
    let rate_limit = rate_limit_of(given)?;
    let expires_at = expiry_of(given)?;
    let labels = labels_of(given)?;
    let mut change = KeyChange::default();
    change.scope.given = scope_of(given, project)?;
    let Some(paths) = mask::paths(mask, &CHANGEABLE)? else {
        change.display_name = Some(given.display_name.clone()).filter(|name| !name.is_empty());
        change.rate_limit = rate_limit.map(Some);
        change.expires_at = expires_at.map(Some);
        change.labels = Some(labels).filter(|labels| !labels.get().is_empty());
        change.scope.changes_workflows = !given.workflows.is_empty();
        change.scope.changes_source_networks = !given.source_networks.is_empty();
        return Ok(change);
    };
    for path in paths {
        match path {
            "display_name" => change.display_name = Some(given.display_name.clone()),
            "rate_limit" => change.rate_limit = Some(rate_limit),
            "expire_time" => change.expires_at = Some(expires_at),
            "labels" => change.labels = Some(labels.clone()),
            "workflows" => change.scope.changes_workflows = true,
            _ => change.scope.changes_source_networks = true,
        }
    }
    Ok(change)
}

impl Api {
    /// A key, with its last use.
    async fn shown_key(&self, found: Found<ApiKey>) -> Result<v1::ApiKey, Error> {
        let uses = self.app.key_uses([&found.row]).await?;
        let last = uses.get(&found.row.id);
        map::api_key(found, last)
    }
}

#[tonic::async_trait]
impl ApiKeyService for Api {
    async fn create_api_key(
        &self,
        request: Request<v1::CreateApiKeyRequest>,
    ) -> Result<Response<v1::CreateApiKeyResponse>, Status> {
        let create = async || {
            let project = parent_project(&request.get_ref().parent)?;
            let caller = Caller::of(&request, &project)?;
            let asked = request.get_ref();
            let id = name("api_key_id", &asked.api_key_id)?;
            let given = asked.api_key.clone().unwrap_or_default();
            let new = NewKey {
                rate_limit: rate_limit_of(&given)?,
                expires_at: expiry_of(&given)?,
                labels: labels_of(&given)?,
                scope: scope_of(&given, &project)?,
                display_name: given.display_name,
            };
            let actor = caller.actor(&asked.request_id);
            self.app
                .create_key(&actor, &project, &id, new, &asked.request_id)
                .await
        };
        let (row, value) = create().await.map_err(to_status)?;
        Ok(Response::new(v1::CreateApiKeyResponse {
            api_key: Some(self.shown_key(Found::live(row)).await.map_err(to_status)?),
            value: value.expose().to_owned(),
        }))
    }

    async fn get_api_key(
        &self,
        request: Request<v1::GetApiKeyRequest>,
    ) -> Result<Response<v1::ApiKey>, Status> {
        let get = async || {
            let key: ApiKeyName = name("name", &request.get_ref().name)?;
            Caller::of(&request, &key.project)?;
            self.app.key(&key).await
        };
        let found = get().await.map_err(to_status)?;
        self.shown_key(found)
            .await
            .map(Response::new)
            .map_err(to_status)
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let asked = request.get_ref();
        let of = [
            "apiKeys",
            asked.parent.as_str(),
            asked.filter.as_str(),
            shown(asked.show_deleted),
        ];
        let list = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            Caller::of(&request, &project)?;
            let labels = filter::labels(&asked.filter)?;
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            let with_deleted = asked.show_deleted;
            self.app.keys(&project, &labels, with_deleted, &page).await
        };
        let page = list().await.map_err(to_status)?;
        let rows: Vec<_> = page.rows.iter().map(|found| &found.row).collect();
        let uses = self.app.key_uses(rows).await.map_err(to_status)?;
        let answer = self.answer(&of, page, |found| {
            let last = uses.get(&found.row.id);
            map::api_key(found, last)
        });
        let (api_keys, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListApiKeysResponse {
            api_keys,
            next_page_token,
        }))
    }

    async fn update_api_key(
        &self,
        request: Request<v1::UpdateApiKeyRequest>,
    ) -> Result<Response<v1::ApiKey>, Status> {
        let update = async || {
            let asked = request.get_ref();
            let given = required("api_key", asked.api_key.as_ref())?;
            let key: ApiKeyName = name("api_key.name", &given.name)?;
            let caller = Caller::of(&request, &key.project)?;
            let change = change_of(given, &key.project, asked.update_mask.as_ref())?;
            self.app
                .update_key(&caller.actor(""), &key, change, &given.etag)
                .await
        };
        let row = update().await.map_err(to_status)?;
        self.shown_key(Found::live(row))
            .await
            .map(Response::new)
            .map_err(to_status)
    }

    async fn reveal_api_key(
        &self,
        request: Request<v1::RevealApiKeyRequest>,
    ) -> Result<Response<v1::RevealApiKeyResponse>, Status> {
        let reveal = async || {
            let key: ApiKeyName = name("name", &request.get_ref().name)?;
            let caller = Caller::of(&request, &key.project)?;
            self.app.reveal_key(&caller.actor(""), &key).await
        };
        let value = reveal().await.map_err(to_status)?;
        Ok(Response::new(v1::RevealApiKeyResponse {
            value: value.expose().to_owned(),
        }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<v1::RotateApiKeyRequest>,
    ) -> Result<Response<v1::RotateApiKeyResponse>, Status> {
        let rotate = async || {
            let asked = request.get_ref();
            let key: ApiKeyName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &key.project)?;
            let overlap = asked.overlap.map(time::duration).transpose();
            let overlap = overlap.map_err(|error| Error::invalid("overlap", error))?;
            let actor = caller.actor(&asked.request_id);
            self.app
                .rotate_key(&actor, &key, overlap, &asked.etag, &asked.request_id)
                .await
        };
        let (row, value) = rotate().await.map_err(to_status)?;
        Ok(Response::new(v1::RotateApiKeyResponse {
            api_key: Some(self.shown_key(Found::live(row)).await.map_err(to_status)?),
            value: value.expose().to_owned(),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<v1::RevokeApiKeyRequest>,
    ) -> Result<Response<v1::ApiKey>, Status> {
        let revoke = async || {
            let asked = request.get_ref();
            let key: ApiKeyName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &key.project)?;
            self.app
                .revoke_key(&caller.actor(""), &key, &asked.etag)
                .await
        };
        let row = revoke().await.map_err(to_status)?;
        self.shown_key(Found::live(row))
            .await
            .map(Response::new)
            .map_err(to_status)
    }

    async fn delete_api_key(
        &self,
        request: Request<v1::DeleteApiKeyRequest>,
    ) -> Result<Response<()>, Status> {
        let delete = async || {
            let asked = request.get_ref();
            let key: ApiKeyName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &key.project)?;
            let actor = caller.actor("");
            match asked.purge {
                true => self.app.purge_key(&actor, &key, &asked.etag).await,
                false => self.app.delete_key(&actor, &key, &asked.etag).await,
            }
        };
        delete().await.map(Response::new).map_err(to_status)
    }

    async fn undelete_api_key(
        &self,
        request: Request<v1::UndeleteApiKeyRequest>,
    ) -> Result<Response<v1::ApiKey>, Status> {
        let undelete = async || {
            let asked = request.get_ref();
            let key: ApiKeyName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &key.project)?;
            self.app
                .undelete_key(&caller.actor(""), &key, &asked.etag)
                .await
        };
        let row = undelete().await.map_err(to_status)?;
        self.shown_key(Found::live(row))
            .await
            .map(Response::new)
            .map_err(to_status)
    }
}
