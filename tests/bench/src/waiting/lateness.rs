//! How late executions went on, by what the control plane has of them.

use anyhow::{Context as _, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;
use signalbox_proto::{
    convert::time,
    v1::{Execution, ExecutionState, ListExecutionsRequest},
};
use signalbox_tests::api::Api;

use super::feed::Feed;

/// The longest lateness that is told apart from longer ones: a day.
const LATE_MAX_US: u64 = 24 * 3600 * 1_000_000;

/// The time at which the execution's wait, and with it the execution, ended, less the time until which it was to wait.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Lateness {
    /// Executions that ended well.
    pub(super) succeeded: u64,
    /// Those that did so before they were due.
    pub(super) early: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Lateness {
    /// Of all executions.
    pub(super) async fn of(api: &Api, feed: &Feed) -> Result<Self> {
        let mut late_us = Histogram::<u64>::new_with_bounds(1, LATE_MAX_US, 3)
            .map_err(|error| anyhow!("{error:?}"))?;
        let (mut succeeded, mut early) = (0, 0);
        let mut request = ListExecutionsRequest {
            parent: "projects/default".to_owned(),
            page_size: 1000,
            ..ListExecutionsRequest::default()
        };
        loop {
            let page = api.executions().list_executions(request.clone()).await?;
            let page = page.into_inner();
            for execution in page.executions {
                match late_by_us(&execution, feed)? {
                    Ok(us) => late_us.saturating_record(us),
                    Err(Early) => early += 1,
                }
                succeeded += 1;
            }
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let ms = |quantile: f64| late_us.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(Self {
            succeeded,
            early,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            max_ms: ms(1.0),
        })
    }
}

/// It went on before it was due.
struct Early;

fn late_by_us(execution: &Execution, feed: &Feed) -> Result<Result<u64, Early>> {
    ensure!(
        execution.state() == ExecutionState::Succeeded,
        "{execution:?} did not end well"
    );
    let number = Feed::number(&execution.message_id);
    let due = feed.due(number.context("an execution of something else")?);
    let ended = time::required("end_time", execution.end_time)?;
    let late = ended.duration_since(due).as_micros();
    Ok(u64::try_from(late).map_err(|_| Early))
}
