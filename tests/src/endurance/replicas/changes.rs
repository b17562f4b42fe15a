//! Changes by all replicas in turn, each made until it is acknowledged.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    time::Duration,
};

use signalbox_proto::v1::{
    ApiKey, ApiKeyState, CreateApiKeyRequest, ListApiKeysRequest, ListAuditEntriesRequest,
    RevokeApiKeyRequest, UpdateApiKeyRequest,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::{Flow, Installation, Noted, Report, messages::verdict};
use crate::api::Api;

/// Those who change something.
const WRITERS: usize = 4;
/// New names of each key.
const UPDATES: usize = 3;
/// Of so many keys one is left as it is; the others are revoked in the end.
const LIVE_OF: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// A call without an answer is made again elsewhere.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
const PROJECT: &str = "projects/default";

/// A key as it must be.
#[derive(Clone, Debug, Default)]
struct Key {
    value: String,
    updates: usize,
    revoked: bool,
}

/// Writers at work.
pub(super) struct Writers {
    keys: Noted<BTreeMap<String, Key>>,
    failed: Noted<BTreeMap<String, u64>>,
    changes: Flow,
    tasks: JoinSet<()>,
}

/// What was made.
pub(super) struct Made(BTreeMap<String, Key>);

#[derive(Clone)]
struct Writer {
    number: usize,
    apis: Vec<Api>,
    failed: Noted<BTreeMap<String, u64>>,
    keys: Noted<BTreeMap<String, Key>>,
    flow: Flow,
}

impl Writers {
    pub(super) fn start(apis: &[Api], flow: &Flow) -> Self {
        let keys = Noted::<BTreeMap<String, Key>>::default();
        let failed = Noted::<BTreeMap<String, u64>>::default();
        let mut tasks = JoinSet::new();
        for number in 0..WRITERS {
            let writer = Writer {
                number,
                apis: apis.to_vec(),
                failed: failed.clone(),
                keys: keys.clone(),
                flow: flow.clone(),
            };
            tasks.spawn(writer.run());
        }
        Self {
            keys,
            failed,
            changes: flow.clone(),
            tasks,
        }
    }

    pub(super) async fn finish(mut self, report: &mut Report) -> Made {
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        report.changes = self.changes.done();
        report.calls_failed = std::mem::take(&mut *self.failed.lock().unwrap());
        Made(std::mem::take(&mut *self.keys.lock().unwrap()))
    }
}

impl Writer {
    async fn run(self) {
        for n in 0.. {
            if !self.flow.goes_on() {
                return;
            }
            let id = format!("w{}-{n}", self.number);
            let name = format!("{PROJECT}/apiKeys/{id}");
            let create = CreateApiKeyRequest {
                parent: PROJECT.to_owned(),
                api_key_id: id.clone(),
                request_id: uuid::Uuid::new_v4().to_string(),
                ..Default::default()
            };
            let made = self
                .until_done(|api| {
                    let create = create.clone();
                    async move { api.keys().create_api_key(create).await }
                })
                .await;
            self.note(&id, |key| key.value = made.into_inner().value);
            for update in 1..=UPDATES {
                let request = UpdateApiKeyRequest {
                    api_key: Some(ApiKey {
                        name: name.clone(),
                        display_name: update.to_string(),
                        ..Default::default()
                    }),
                    update_mask: Some(prost_types::FieldMask {
                        paths: vec!["display_name".to_owned()],
                    }),
                };
                self.until_done(|api| {
                    let request = request.clone();
                    async move { api.keys().update_api_key(request).await }
                })
                .await;
                self.note(&id, |key| key.updates = update);
            }
            if n % LIVE_OF != 0 {
                let request = RevokeApiKeyRequest {
                    name,
                    ..Default::default()
                };
                self.until_done(|api| {
                    let request = request.clone();
                    async move { api.keys().revoke_api_key(request).await }
                })
                .await;
                self.note(&id, |key| key.revoked = true);
            }
        }
    }

    fn note(&self, id: &str, change: impl FnOnce(&mut Key)) {
        change(self.keys.lock().unwrap().entry(id.to_owned()).or_default());
        self.flow.add_one();
    }

    /// At one replica after the other, until one of them says that it is done.
    async fn until_done<T, F>(&self, call: impl Fn(Api) -> F) -> T
    where
        F: Future<Output = Result<T, Status>> + Send,
    {
        for turn in self.number.. {
            let api = self.apis[turn % self.apis.len()].clone();
            let failed = match tokio::time::timeout(CALL_TIMEOUT, call(api)).await {
                Ok(Ok(done)) => return done,
                Ok(Err(status)) => {
                    let may_pass = [
                        Code::Unavailable,
                        Code::Unknown,
                        Code::Cancelled,
                        Code::DeadlineExceeded,
                    ];
                    // What broke on the way here has a source; what a replica says has none.
                    let is_broken = std::error::Error::source(&status).is_some();
                    assert!(is_broken || may_pass.contains(&status.code()), "{status:?}");
                    format!("{:?}", status.code())
                }
                Err(_) => "no answer".to_owned(),
            };
            *self.failed.lock().unwrap().entry(failed).or_default() += 1;
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("there is always another turn")
    }
}

impl Made {
    pub(super) fn keys(&self) -> usize {
        self.0.len()
    }

    /// Each key is as it was last made, at every replica and every node; and the audit log has each change once.
    pub(super) async fn check(&self, installation: &Installation) {
        for api in &installation.apis {
            let listed = keys(api).await;
            // The senders' is one more.
            assert_eq!(listed.len(), self.0.len() + 1);
            for (id, key) in &self.0 {
                let found = &listed[&format!("{PROJECT}/apiKeys/{id}")];
                let is_revoked = found.state() == ApiKeyState::Revoked;
                assert_eq!(
                    (&found.display_name, is_revoked),
                    (&key.updates.to_string(), key.revoked),
                    "{id}"
                );
            }
        }
        let client = reqwest::Client::new();
        for node in &installation.nodes {
            for (id, key) in &self.0 {
                let expected = if key.revoked { 401 } else { 403 };
                let found = verdict(&client, node, &key.value).await;
                assert_eq!(found, expected, "{id} at {}", node.webhook_url);
            }
        }
        let audited = audited(&installation.apis[1]).await;
        for (id, key) in &self.0 {
            let times = |action: &str| {
                let what = (action.to_owned(), format!("{PROJECT}/apiKeys/{id}"));
                audited.get(&what).copied().unwrap_or_default()
            };
            let found = [
                times("CreateApiKey"),
                times("UpdateApiKey"),
                times("RevokeApiKey"),
            ];
            let expected = [1, key.updates, usize::from(key.revoked)];
            assert_eq!(found, expected, "{id}: created, updated, revoked");
        }
    }
}

async fn keys(api: &Api) -> HashMap<String, ApiKey> {
    let mut all = HashMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListApiKeysRequest {
            parent: PROJECT.to_owned(),
            page_size: 1_000,
            page_token,
            ..Default::default()
        };
        let page = api.keys().list_api_keys(request).await.unwrap();
        let page = page.into_inner();
        let named = page.api_keys.into_iter().map(|key| (key.name.clone(), key));
        all.extend(named);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

/// How often each action was done to each resource.
async fn audited(api: &Api) -> HashMap<(String, String), usize> {
    let mut all = HashMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListAuditEntriesRequest {
            parent: PROJECT.to_owned(),
            page_size: 1_000,
            page_token,
            ..Default::default()
        };
        let page = api.audit().list_audit_entries(request).await.unwrap();
        let page = page.into_inner();
        for entry in page.audit_entries {
            *all.entry((entry.action, entry.resource)).or_default() += 1;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}
