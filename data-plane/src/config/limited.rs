//! Keys, workflows and projects with the bucket that counts their requests. A limit's state lives and dies with the entry of what it
//! limits: what has no limit costs nothing, and nothing is looked up by name.

use std::{ops::Deref, sync::Arc, time::Duration};

use governor::Quota;
use signalbox_model::{
    config::{KeyConfig, ProjectConfig, WorkflowConfig},
    rate_limit::RateLimit,
};

use crate::rate::{self, Bucket};

/// The limits of what sets none itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Of a workflow.
    pub workflow_max: Option<RateLimit>,
    /// Of an API key.
    pub key_max: Option<RateLimit>,
}

/// A part of the configuration, and what counts its requests.
#[derive(Clone, Debug)]
pub struct Limited<T> {
    config: T,
    bucket: Option<Arc<Bucket>>,
}

impl Limited<KeyConfig> {
    pub(super) fn key(config: KeyConfig, rates: Rates, before: Option<&Self>) -> Self {
        let limit = config.rate_limit.or(rates.key_max);
        Self::new(config, limit, before)
    }
}

impl Limited<WorkflowConfig> {
    pub(super) fn workflow(config: WorkflowConfig, rates: Rates, before: Option<&Self>) -> Self {
        let published = config.published.as_ref();
        let own = published.and_then(|published| published.front.rate_limit);
        Self::new(config, own.or(rates.workflow_max), before)
    }
}

impl Limited<ProjectConfig> {
    pub(super) fn project(config: ProjectConfig, before: Option<&Self>) -> Self {
        let limit = Some(config.rate_limit);
        Self::new(config, limit, before)
    }
}

impl<T> Limited<T> {
    /// Goes on with the bucket of `before` when the limit is the same: no other change is worth a new burst.
    fn new(config: T, limit: Option<RateLimit>, before: Option<&Self>) -> Self {
        let bucket = limit.map(rate::quota).map(|quota: Quota| {
            before
                .and_then(|before| before.bucket.clone())
                .filter(|bucket| bucket.quota() == quota)
                .unwrap_or_else(|| Arc::new(Bucket::new(quota)))
        });
        Self { config, bucket }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long it takes until one more is allowed, when this one is not.
    pub fn take(&self) -> Result<(), Duration> {
        match &self.bucket {
            None => Ok(()),
            Some(bucket) => bucket.take(),
        }
    }
}

impl<T> Deref for Limited<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.config
    }
}
