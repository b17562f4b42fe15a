//! `ApiKeyService`.

use signalbox_model::ids::ApiKeyName;
use signalbox_proto::{
    convert::{status::to_status, time},
    v1::{self, api_key_service_server::ApiKeyService},
};
use tonic::{Request, Response, Status};

use super::{Api, map, name, parent_project};
use crate::{app::NewKey, auth::Caller, store::Page};

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
            let expires_at = given
                .expire_time
                .map(|at| time::from_wire("api_key.expire_time", at))
                .transpose()
                .map_err(|error| {
                    signalbox_model::error::Error::invalid("api_key.expire_time", error.to_string())
                })?;
            let new = NewKey {
                display_name: given.display_name,
                expires_at,
            };
            let actor = caller.actor(&asked.request_id);
            self.app
                .create_key(&actor, &project, &id, new, &asked.request_id)
                .await
        };
        let (row, value) = create().await.map_err(to_status)?;
        Ok(Response::new(v1::CreateApiKeyResponse {
            api_key: Some(map::api_key(row)),
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
        get()
            .await
            .map(|row| Response::new(map::api_key(row)))
            .map_err(to_status)
    }

    async fn list_api_keys(
        &self,
        request: Request<v1::ListApiKeysRequest>,
    ) -> Result<Response<v1::ListApiKeysResponse>, Status> {
        let list = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            Caller::of(&request, &project)?;
            let page = Page::parse(asked.page_size, &asked.page_token)?;
            self.app.keys(&project, &page).await
        };
        let page = list().await.map_err(to_status)?;
        Ok(Response::new(v1::ListApiKeysResponse {
            api_keys: page.rows.into_iter().map(map::api_key).collect(),
            next_page_token: page.next_page_token,
        }))
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
        revoke()
            .await
            .map(|row| Response::new(map::api_key(row)))
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
            self.app
                .delete_key(&caller.actor(""), &key, &asked.etag)
                .await
        };
        delete().await.map(Response::new).map_err(to_status)
    }
}
