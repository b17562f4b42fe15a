//! `TokenService`.

use signalbox_model::error::Error;
use signalbox_proto::{
    convert::{status::to_status, time},
    v1::{self, token_service_server::TokenService},
};
use tonic::{Request, Response, Status};

use super::{Api, map};
use crate::auth::Caller;

#[tonic::async_trait]
impl TokenService for Api {
    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokedToken>, Status> {
        let revoke = async || {
            let caller = Caller::everywhere(&request)?;
            let asked = request.get_ref();
            let ends = asked.expire_time.map(|ends| {
                time::from_wire("expire_time", ends)
                    .map(|time| time.as_microsecond())
                    .map_err(|error| Error::invalid("expire_time", error.to_string()))
            });
            self.own_tokens
                .revoke(
                    &caller.actor(""),
                    &asked.token_id,
                    ends.transpose()?,
                    &asked.reason,
                )
                .await
        };
        revoke()
            .await
            .map(|row| Response::new(map::revoked_token(row)))
            .map_err(to_status)
    }

    async fn list_revoked_tokens(
        &self,
        request: Request<v1::ListRevokedTokensRequest>,
    ) -> Result<Response<v1::ListRevokedTokensResponse>, Status> {
        let of = ["revokedTokens"];
        let list = async || {
            Caller::everywhere(&request)?;
            let asked = request.get_ref();
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            self.own_tokens.revoked(&page).await
        };
        let page = list().await.map_err(to_status)?;
        let answer = self.answer(&of, page, |row| Ok(map::revoked_token(row)));
        let (revoked_tokens, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListRevokedTokensResponse {
            revoked_tokens,
            next_page_token,
        }))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<v1::RotateSigningKeyRequest>,
    ) -> Result<Response<v1::SigningKey>, Status> {
        let rotate = async || {
            let caller = Caller::everywhere(&request)?;
            let overlap = request.get_ref().overlap.map(time::duration).transpose();
            let overlap = overlap.map_err(|error| Error::invalid("overlap", error))?;
            self.own_tokens.rotate(&caller.actor(""), overlap).await
        };
        rotate()
            .await
            .map(|row| Response::new(map::signing_key(row)))
            .map_err(to_status)
    }

    async fn list_signing_keys(
        &self,
        request: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        let list = async || {
            Caller::everywhere(&request)?;
            self.own_tokens.keys().await
        };
        let keys = list().await.map_err(to_status)?;
        Ok(Response::new(v1::ListSigningKeysResponse {
            signing_keys: keys.into_iter().map(map::signing_key).collect(),
        }))
    }
}
