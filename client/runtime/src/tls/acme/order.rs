//! One order, from the account to the certificate (RFC 8555 §7.4).

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};

use super::challenge::{Answering, Challenges};
use super::config::AcmeConfig;
use super::error::OrderError;
use super::http::Http;
use super::stored::{StoredAccount, StoredCertificate};
use crate::data_dir::DataDir;

/// Polling for what the authority does by itself: from 250 ms on, ever more slowly.
const POLLING: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(120));

/// What an order needs. There is one at a time.
pub(super) struct Orderer<'a> {
    pub(super) config: &'a AcmeConfig,
    pub(super) data_dir: &'a Arc<DataDir>,
    pub(super) http: &'a Http,
    pub(super) challenges: &'a Challenges,
}

impl Orderer<'_> {
    /// Orders a certificate, with a key of its own.
    pub(super) async fn order(&self) -> Result<StoredCertificate, OrderError> {
        let mut order = self.place().await?;
        let answering = self.challenges.begin();
        self.answer(&mut order, &answering).await?;
        let validated = order.poll_ready(&POLLING).await;
        if order.state().status == OrderStatus::Invalid {
            return Err(refusal(&mut order).await?);
        }
        validated.map_err(OrderError::when("waiting for the validation"))?;
        drop(answering);
        let key = order.finalize().await;
        let key = key.map_err(OrderError::when("the request for the certificate"))?;
        let chain = order.poll_certificate(&POLLING).await;
        let chain = chain.map_err(OrderError::when("fetching the certificate"))?;
        Ok(StoredCertificate {
            directory: self.config.directory.clone(),
            domains: self.config.domains.clone(),
            chain,
            key,
        })
    }

    async fn place(&self) -> Result<Order, OrderError> {
        let domains = self.config.domains.iter();
        let identifiers: Vec<_> = domains
            .map(|domain| Identifier::Dns(domain.to_string()))
            .collect();
        let place = async |account: Account| {
            let order = account.new_order(&NewOrder::new(&identifiers)).await;
            order.map_err(OrderError::when("the order"))
        };
        let account = match self.kept_account().await? {
            Some(account) => account,
            None => self.register().await?,
        };
        match place(account).await {
            Err(error) if error.is_unknown_account() => {
                tracing::warn!("the authority does not know the account; a new one is made");
                place(self.register().await?).await
            }
            placed => placed,
        }
    }

    /// Has the authority look at the listener for each domain that it does not know to be here.
    async fn answer(&self, order: &mut Order, answering: &Answering<'_>) -> Result<(), OrderError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization =
                authorization.map_err(OrderError::when("reading an authorization"))?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let name = authorization.identifier().to_string();
            let ordered = self
                .config
                .domains
                .iter()
                .find(|domain| domain.as_str() == name);
            let domain = ordered.cloned().ok_or(OrderError::ForeignIdentifier)?;
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                return Err(OrderError::NoChallenge(domain));
            };
            answering.add(domain, challenge.key_authorization().digest().as_ref())?;
            let ready = challenge.set_ready().await;
            ready.map_err(OrderError::when("beginning the validation"))?;
        }
        Ok(())
    }

    /// The account of earlier orders, if it is still what is asked for.
    async fn kept_account(&self) -> Result<Option<Account>, OrderError> {
        let Some(stored) = StoredAccount::load(self.data_dir).await? else {
            return Ok(None);
        };
        if stored.directory != self.config.directory
            || stored.external_account.as_ref() != self.external_key_id()
        {
            return Ok(None);
        }
        let contacts_changed = stored.contacts != self.config.contacts;
        let account = self.builder().from_credentials(stored.credentials).await;
        let account = account.map_err(OrderError::when("reading the directory"))?;
        if contacts_changed {
            let updated = account.update_contacts(&self.contacts()).await;
            updated.map_err(OrderError::when("changing the account's contacts"))?;
            if let Some(mut stored) = StoredAccount::load(self.data_dir).await? {
                stored.contacts.clone_from(&self.config.contacts);
                stored.save(self.data_dir).await?;
            }
        }
        Ok(Some(account))
    }

    async fn register(&self) -> Result<Account, OrderError> {
        let new = NewAccount {
            contact: &self.contacts(),
            // There is no configuration without the operator's word for it.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = self.config.directory.as_str().to_owned();
        let external = self
            .config
            .external_account
            .as_ref()
            .map(|account| account.key());
        let made = self
            .builder()
            .create(&new, directory, external.as_ref())
            .await;
        let (account, credentials) = made.map_err(OrderError::when("making an account"))?;
        let stored = StoredAccount {
            directory: self.config.directory.clone(),
            external_account: self.external_key_id().cloned(),
            contacts: self.config.contacts.clone(),
            credentials,
        };
        stored.save(self.data_dir).await?;
        tracing::info!(
            directory = self.config.directory.as_str(),
            "an ACME account was made"
        );
        Ok(account)
    }

    fn builder(&self) -> instant_acme::AccountBuilder {
        Account::builder_with_http(Box::new(self.http.clone()))
    }

    fn contacts(&self) -> Vec<&str> {
        self.config
            .contacts
            .iter()
            .map(|contact| contact.as_url())
            .collect()
    }

    fn external_key_id(&self) -> Option<&String> {
        self.config
            .external_account
            .as_ref()
            .map(|account| &account.key_id)
    }
}

/// Why the authority ended an order as invalid: what it says of the first domain that it did not find here.
async fn refusal(order: &mut Order) -> Result<OrderError, OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization =
            authorization.map_err(OrderError::when("reading an authorization"))?;
        let state = authorization.refresh().await;
        let state = state.map_err(OrderError::when("reading an authorization"))?;
        let problem = state
            .challenges
            .iter()
            .find_map(|challenge| challenge.error.clone());
        if let Some(problem) = problem {
            return Ok(OrderError::Refused {
                name: state.identifier().to_string(),
                source: Error::Api(problem),
            });
        }
    }
    Ok(OrderError::Invalid)
}
