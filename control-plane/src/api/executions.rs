//! `ExecutionService`.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, ProjectId},
};
use signalbox_proto::{
    convert::{definition, status::to_status},
    v1::{self, execution_service_server::ExecutionService},
};
use signalbox_runtime::telemetry::context;
use tokio::{sync::watch, time::Instant};
use tonic::{Request, Response, Status};

use super::{Api, filter, map, name, order, parent_project, signals, watches::Place};
use crate::{
    app::{App, RetryMode, RetryRequest, RetryVersion},
    auth::{Caller, Role},
    store::{Cancel, ExecutionFilter, Position, Store, Tokens, rows::Execution},
};

/// How often a watcher looks although nobody said that something changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks of a watcher of one execution, at least.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Executions sent together to a watcher.
const WATCH_MAX: u64 = 200;

type Watched = std::pin::Pin<Box<dyn Stream<Item = Result<v1::Execution, Status>> + Send>>;

#[tonic::async_trait]
impl ExecutionService for Api {
    async fn get_execution(
        &self,
        request: Request<v1::GetExecutionRequest>,
    ) -> Result<Response<v1::Execution>, Status> {
        let get = async || {
            let execution: ExecutionName = name("name", &request.get_ref().name)?;
            Caller::of(&request, &execution.project)?;
            self.app.execution(&execution).await
        };
        get()
            .await
            .map(|detail| Response::new(map::execution_detail(detail)))
            .map_err(to_status)
    }

    async fn cancel_execution(
        &self,
        request: Request<v1::CancelExecutionRequest>,
    ) -> Result<Response<v1::Execution>, Status> {
        let cancel = async || {
            let execution: ExecutionName = name("name", &request.get_ref().name)?;
            let caller = Caller::of(&request, &execution.project)?;
            let how = match request.get_ref().force {
                true => Cancel::Force,
                false => Cancel::Ask,
            };
            self.app
                .cancel_execution(&caller.actor(""), &execution, how)
                .await
        };
        cancel()
            .await
            .map(|detail| Response::new(map::execution_detail(detail)))
            .map_err(to_status)
    }

    async fn signal_execution(
        &self,
        request: Request<v1::SignalExecutionRequest>,
    ) -> Result<Response<v1::Signal>, Status> {
        let tell = async || {
            let asked = request.get_ref();
            let execution: ExecutionName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &execution.project)?;
            let telling = signals::telling(asked.kind.clone())?;
            let actor = caller.actor(&asked.request_id);
            let traceparent = context::current_traceparent();
            self.app
                .signal_execution(&actor, &execution, telling, &asked.request_id, traceparent)
                .await
        };
        tell()
            .await
            .map(|row| Response::new(signals::shown(row, false)))
            .map_err(to_status)
    }

    async fn create_approval_links(
        &self,
        request: Request<v1::CreateApprovalLinksRequest>,
    ) -> Result<Response<v1::ApprovalLinks>, Status> {
        let make = async || {
            let asked = request.get_ref();
            let execution: ExecutionName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &execution.project)?;
            signals::check_label(&asked.label)?;
            let step = signals::step("step", &asked.step)?;
            let awaited = self.app.approval(&execution, step.as_ref()).await?;
            let links = signals::links(&self.links, &execution, awaited, &asked.label)?;
            self.app
                .links_made(&caller.actor(""), &execution, &links.step, &asked.label)
                .await?;
            Ok(Response::new(links))
        };
        make().await.map_err(to_status)
    }

    async fn retry_execution(
        &self,
        request: Request<v1::RetryExecutionRequest>,
    ) -> Result<Response<v1::Execution>, Status> {
        let retry = async || {
            let asked = request.get_ref();
            let execution: ExecutionName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &execution.project)?;
            let mode = match v1::RetryMode::try_from(asked.mode) {
                Ok(v1::RetryMode::Unspecified | v1::RetryMode::FromFailed) => RetryMode::FromFailed,
                Ok(v1::RetryMode::Whole) => RetryMode::Whole,
                Err(_) => return Err(Error::invalid("mode", "is no such mode")),
            };
            use v1::retry_execution_request::Version;
            let version = match asked.version {
                None | Some(Version::Latest(false)) => RetryVersion::Same,
                Some(Version::WorkflowVersion(number)) => RetryVersion::Number(number),
                Some(Version::Latest(true)) => RetryVersion::Latest,
            };
            let retry = RetryRequest {
                mode,
                version,
                may_run_unpublished: caller.has(Role::Editor, &execution.project),
                request_id: &asked.request_id,
                traceparent: context::current_traceparent(),
            };
            let actor = caller.actor(&asked.request_id);
            let decode = |source: &[u8]| definition::decode(source, &execution.project);
            self.app
                .retry_execution(&actor, &execution, retry, decode, definition::changed_steps)
                .await
        };
        retry()
            .await
            .map(|detail| Response::new(map::execution_detail(detail)))
            .map_err(to_status)
    }

    async fn list_executions(
        &self,
        request: Request<v1::ListExecutionsRequest>,
    ) -> Result<Response<v1::ListExecutionsResponse>, Status> {
        let list = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            Caller::of(&request, &project)?;
            let filter = filter::executions(&asked.filter, &project)?;
            let of = ["executions", &asked.parent, &asked.filter, &asked.order_by];
            let mut page = self.page(&of, asked.page_size, &asked.page_token)?;
            page.order = order("create_time", &asked.order_by)?;
            let page = self.app.executions(&project, &filter, &page).await?;
            let mut awaited = self.app.awaited(&page.rows).await?;
            let show = |row: Execution| {
                let waits_for = awaited.remove(&row.id).unwrap_or_default();
                Ok(map::execution(row, waits_for))
            };
            let (executions, next_page_token) = self.answer(&of, page, show)?;
            Ok::<_, Error>(v1::ListExecutionsResponse {
                executions,
                next_page_token,
            })
        };
        list().await.map(Response::new).map_err(to_status)
    }

    type WatchExecutionStream = Watched;

    async fn watch_execution(
        &self,
        request: Request<v1::WatchExecutionRequest>,
    ) -> Result<Response<Watched>, Status> {
        let begin = async || {
            let execution: ExecutionName = name("name", &request.get_ref().name)?;
            let caller = Caller::of(&request, &execution.project)?;
            let place = self.watches.enter(&caller)?;
            self.app.execution(&execution).await?;
            Ok::<_, Error>((execution, place))
        };
        let (execution, place) = begin().await.map_err(to_status)?;
        let state = WatchOne {
            history: self.app.store().history(),
            app: self.app.clone(),
            execution,
            sent: None,
            ended: false,
            _place: place,
        };
        Ok(Response::new(stream::unfold(state, WatchOne::next).boxed()))
    }

    type WatchExecutionsStream = Watched;

    async fn watch_executions(
        &self,
        request: Request<v1::WatchExecutionsRequest>,
    ) -> Result<Response<Watched>, Status> {
        let history = self.app.store().history();
        let head = *history.borrow();
        let begin = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            let caller = Caller::of(&request, &project)?;
            let place = self.watches.enter(&caller)?;
            let filter = filter::executions(&asked.filter, &project)?;
            let of = [WATCHED, &asked.parent, &asked.filter];
            let seen = match asked.watch_token.as_str() {
                // Whatever changes next, whichever execution it is.
                "" => (head + 1, String::new()),
                token => watched_until(self.app.store(), &self.tokens, &of, token).await?,
            };
            Ok::<_, Error>((project, filter, seen, of.map(str::to_owned), place))
        };
        let (project, filter, seen, of, place) = begin().await.map_err(to_status)?;
        let state = WatchMany {
            seen: Some(seen),
            history,
            app: self.app.clone(),
            tokens: self.tokens.clone(),
            of,
            project,
            filter,
            _place: place,
        };
        let batches = stream::unfold(state, WatchMany::next);
        Ok(Response::new(batches.flat_map(stream::iter).boxed()))
    }

    async fn get_execution_event(
        &self,
        request: Request<v1::GetExecutionEventRequest>,
    ) -> Result<Response<v1::Event>, Status> {
        let get = async || {
            let asked = &request.get_ref().name;
            let execution: ExecutionName = asked
                .strip_suffix("/event")
                .ok_or_else(|| {
                    Error::invalid(
                        "name",
                        "is not projects/{project}/executions/{execution}/event",
                    )
                })
                .and_then(|text| name("name", text))?;
            Caller::of(&request, &execution.project)?;
            self.app.event(&execution).await
        };
        let (execution, event, certificate) = get().await.map_err(to_status)?;
        Ok(Response::new(map::event(&execution, event, certificate)))
    }
}

/// Executions of one project without their steps, but with what they wait for from outside.
async fn listed(app: &App, rows: Vec<Execution>) -> Result<Vec<v1::Execution>, Error> {
    let mut awaited = app.awaited(&rows).await?;
    let executions = rows.into_iter().map(|row| {
        let waits_for = awaited.remove(&row.id).unwrap_or_default();
        map::execution(row, waits_for)
    });
    Ok(executions.collect())
}

async fn changed(history: &mut watch::Receiver<i64>) {
    // What counts is the database; the hint only saves waiting.
    let _ = tokio::time::timeout(LOOK_INTERVAL, history.changed()).await;
}

/// One execution until it ends.
struct WatchOne {
    app: App,
    history: watch::Receiver<i64>,
    execution: ExecutionName,
    sent: Option<v1::Execution>,
    ended: bool,
    _place: Place,
}

impl WatchOne {
    async fn next(mut self) -> Option<(Result<v1::Execution, Status>, Self)> {
        if self.ended {
            return None;
        }
        loop {
            self.history.mark_unchanged();
            let looked = Instant::now();
            match self.app.execution(&self.execution).await {
                Ok(detail) => {
                    let found = map::execution_detail(detail);
                    if self.sent.as_ref() != Some(&found) {
                        self.ended = found.end_time.is_some();
                        self.sent = Some(found.clone());
                        return Some((Ok(found), self));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some((Err(to_status(error)), self));
                }
            }
            changed(&mut self.history).await;
            // Most of what changes is other executions.
            tokio::time::sleep_until(looked + LOOK_PAUSE).await;
        }
    }
}

/// Begins every watch token.
const WATCHED: &str = "watch";

/// Until where whoever has `token` has seen the changes.
async fn watched_until(
    store: &Store,
    tokens: &Tokens,
    of: &[&str],
    token: &str,
) -> Result<Position, Error> {
    let Some(seen) = tokens.read(of, token) else {
        return Err(Error::invalid(
            "watch_token",
            "is not a watch_token of this parent with the same filter",
        ));
    };
    let is_later = || seen.0 > *store.history().borrow();
    if is_later() {
        // It may be of another replica, and this one was not told yet.
        store.refresh().await?;
    }
    // A database that was restored from before: what came since then in the other one is not in this.
    if is_later() {
        return Err(Error::invalid(
            "watch_token",
            "is of a later state than this database has; list the executions and watch without it",
        ));
    }
    Ok(seen)
}

/// The executions of a project as they change.
struct WatchMany {
    app: App,
    history: watch::Receiver<i64>,
    tokens: Tokens,
    of: [String; 3],
    project: ProjectId,
    filter: ExecutionFilter,
    /// The change that was sent last. None: the stream has failed.
    seen: Option<Position>,
    _place: Place,
}

impl WatchMany {
    async fn next(mut self) -> Option<(Vec<Result<v1::Execution, Status>>, Self)> {
        let mut seen = self.seen.take()?;
        loop {
            self.history.mark_unchanged();
            match self.changes(&seen).await {
                Ok(found) => {
                    let Some(last) = found.last() else {
                        changed(&mut self.history).await;
                        continue;
                    };
                    seen = last.0.clone();
                    let batch = found.into_iter().map(|(_, execution)| Ok(execution));
                    let batch = batch.collect();
                    self.seen = Some(seen);
                    return Some((batch, self));
                }
                Err(error) => return Some((vec![Err(to_status(error))], self)),
            }
        }
    }

    /// What changed after `seen`, each with where it stands among the changes.
    async fn changes(&self, seen: &Position) -> Result<Vec<(Position, v1::Execution)>, Error> {
        let store = self.app.store();
        let rows = store
            .executions_changed_since(&self.project, &self.filter, seen, WATCH_MAX)
            .await?;
        let positions: Vec<Position> = rows
            .iter()
            .map(|row| (row.history, row.id.clone()))
            .collect();
        let of = self.of.each_ref().map(String::as_str);
        let executions = listed(&self.app, rows).await?;
        Ok(positions
            .into_iter()
            .zip(executions)
            .map(|(position, execution)| {
                let watch_token = self.tokens.write(&of, &position);
                let execution = v1::Execution {
                    watch_token,
                    ..execution
                };
                (position, execution)
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use aws_lc_rs::hmac;
    use signalbox_test_postgres::Postgres;

    use super::*;

    #[tokio::test]
    async fn a_token_of_another_replica_is_not_refused_for_what_was_not_told_yet() {
        let postgres = Postgres::start();
        // Nobody follows the others.
        let store = Store::open_url(&postgres.url()).await.unwrap();
        let known = *store.history().borrow();
        let tokens = Tokens::new(hmac::Key::new(hmac::HMAC_SHA256, b"shared"));
        let of = [WATCHED, "projects/default", ""];
        let seen = (known + 5, "x".to_owned());
        let token = tokens.write(&of, &seen);
        let _ =
            postgres.sql("UPDATE counters SET value = value + 5 WHERE name = 'history'; SELECT 1");
        let found = watched_until(&store, &tokens, &of, &token).await;
        assert_eq!(found.unwrap(), seen);
        let later = tokens.write(&of, &(known + 6, "x".to_owned()));
        let refused = watched_until(&store, &tokens, &of, &later).await;
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
}
