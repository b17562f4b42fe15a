//! `SecretService`.

use signalbox_model::ids::SecretName;
use signalbox_proto::{
    convert::status::to_status,
    v1::{self, secret_service_server::SecretService},
};
use tonic::{Request, Response, Status};

use super::{Api, map, name, parent_project, required};
use crate::auth::Caller;

#[tonic::async_trait]
impl SecretService for Api {
    async fn create_secret(
        &self,
        request: Request<v1::CreateSecretRequest>,
    ) -> Result<Response<v1::Secret>, Status> {
        let create = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            let caller = Caller::of(&request, &project)?;
            let id = name("secret_id", &asked.secret_id)?;
            let given = required("secret", asked.secret.as_ref())?;
            self.app
                .create_secret(&caller.actor(""), &project, &id, &given.value)
                .await
        };
        create()
            .await
            .map(|row| Response::new(map::secret(row)))
            .map_err(to_status)
    }

    async fn get_secret(
        &self,
        request: Request<v1::GetSecretRequest>,
    ) -> Result<Response<v1::Secret>, Status> {
        let get = async || {
            let secret: SecretName = name("name", &request.get_ref().name)?;
            Caller::of(&request, &secret.project)?;
            self.app.secret(&secret).await
        };
        get()
            .await
            .map(|row| Response::new(map::secret(row)))
            .map_err(to_status)
    }

    async fn list_secrets(
        &self,
        request: Request<v1::ListSecretsRequest>,
    ) -> Result<Response<v1::ListSecretsResponse>, Status> {
        let of = ["secrets", request.get_ref().parent.as_str()];
        let list = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            Caller::of(&request, &project)?;
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            self.app.secrets(&project, &page).await
        };
        let page = list().await.map_err(to_status)?;
        let answer = self.answer(&of, page, |row| Ok(map::secret(row)));
        let (secrets, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListSecretsResponse {
            secrets,
            next_page_token,
        }))
    }

    async fn update_secret(
        &self,
        request: Request<v1::UpdateSecretRequest>,
    ) -> Result<Response<v1::Secret>, Status> {
        let update = async || {
            let given = required("secret", request.get_ref().secret.as_ref())?;
            let secret: SecretName = name("secret.name", &given.name)?;
            let caller = Caller::of(&request, &secret.project)?;
            self.app
                .update_secret(&caller.actor(""), &secret, &given.value, &given.etag)
                .await
        };
        update()
            .await
            .map(|row| Response::new(map::secret(row)))
            .map_err(to_status)
    }

    async fn delete_secret(
        &self,
        request: Request<v1::DeleteSecretRequest>,
    ) -> Result<Response<()>, Status> {
        let delete = async || {
            let asked = request.get_ref();
            let secret: SecretName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &secret.project)?;
            self.app
                .delete_secret(&caller.actor(""), &secret, &asked.etag)
                .await
        };
        delete().await.map(Response::new).map_err(to_status)
    }
}
