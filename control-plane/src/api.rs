//! The services of `signalbox.v1`: convert, authorise, call the use case, map.

mod api_keys;
mod audit;
mod deliveries;
mod executions;
mod filter;
mod map;
mod mask;
mod nodes;
mod projects;
mod secrets;
mod signals;
mod subscribe_kit;
mod subscriptions;
mod tokens;
mod watches;
mod workflows;

use signalbox_model::{
    error::Error,
    ids::{ProjectId, ProjectName, WorkflowId},
};
use signalbox_proto::v1::{
    api_key_service_server::ApiKeyServiceServer, audit_service_server::AuditServiceServer,
    delivery_service_server::DeliveryServiceServer,
    execution_service_server::ExecutionServiceServer, node_service_server::NodeServiceServer,
    project_service_server::ProjectServiceServer, secret_service_server::SecretServiceServer,
    subscription_service_server::SubscriptionServiceServer,
    token_service_server::TokenServiceServer, workflow_service_server::WorkflowServiceServer,
};
use tonic::service::{Routes, RoutesBuilder};

use self::watches::Watches;
use crate::{
    app::{App, Found},
    auth::{self, Links},
    store::{Order, PAGE_MAX_BYTES, Page, PageOf, Placed, Position, Tokens},
};

/// Size of a request.
const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Size of an answer: one execution with all that its steps recorded. Pages are shorter.
const ANSWER_MAX_BYTES: usize = 32 * 1024 * 1024;

/// Bytes around a message within another, at most: its tag and its length.
const FIELD_BYTES: usize = 8;

/// The services over the use cases.
#[derive(Clone, Debug)]
pub struct Api {
    app: App,
    links: Links,
    /// What callers show.
    own_tokens: auth::Tokens,
    /// Where pages and watches go on.
    tokens: Tokens,
    watches: Watches,
}

impl Api {
    /// Over `app`, with links for approvals by `links`, and `own_tokens` to manage.
    #[must_use]
    pub fn new(app: App, links: Links, own_tokens: auth::Tokens) -> Self {
        let tokens = Tokens::new(app.page_key().clone());
        Self {
            app,
            links,
            own_tokens,
            tokens,
            watches: Watches::default(),
        }
    }

    /// The page that a request asks for, of the list `of`: what it lists, and each argument that must stay the same from
    /// page to page.
    ///
    /// # Errors
    /// When the size is negative, or the token is none of this list.
    fn page(&self, of: &[&str], size: i32, token: &str) -> Result<Page, Error> {
        let mut page = Page::sized(size)?;
        if !token.is_empty() {
            let after = self.tokens.read(of, token).ok_or_else(|| {
                Error::invalid(
                    "page_token",
                    "is not a next_page_token of this list with the same parent, filter and order",
                )
            })?;
            page.after = Some(after);
        }
        Ok(page)
    }

    /// What an answer shows of a page of the list `of`: its messages, by `show`, as many as it has room for, and the
    /// `next_page_token`, which is empty on the last page.
    fn answer<T: Placed, M: prost::Message>(
        &self,
        of: &[&str],
        page: PageOf<T>,
        mut show: impl FnMut(T) -> Result<M, Error>,
    ) -> Result<(Vec<M>, String), Error> {
        let mut shown = Vec::with_capacity(page.rows.len());
        let (mut bytes, mut last) = (0, None);
        for row in page.rows {
            let position = row.position();
            let message = show(row)?;
            bytes += message.encoded_len() + FIELD_BYTES;
            // The first is shown however large it is: otherwise nobody would get beyond it.
            if bytes > PAGE_MAX_BYTES
                && let Some(last) = &last
            {
                return Ok((shown, self.tokens.write(of, last)));
            }
            last = Some(position);
            shown.push(message);
        }
        let next = page.next.as_ref();
        let next = next.map_or_else(String::new, |next| self.tokens.write(of, next));
        Ok((shown, next))
    }

    /// Adds every service to `routes`.
    pub fn add_to(&self, routes: &mut RoutesBuilder) {
        macro_rules! add {
            ($($server:ident),+) => {
                $(
                    routes.add_service(
                        $server::new(self.clone())
                            .max_decoding_message_size(REQUEST_MAX_BYTES)
                            .max_encoding_message_size(ANSWER_MAX_BYTES),
                    );
                )+
            };
        }
        add!(
            ApiKeyServiceServer,
            WorkflowServiceServer,
            ExecutionServiceServer,
            DeliveryServiceServer,
            SubscriptionServiceServer,
            SecretServiceServer,
            AuditServiceServer,
            NodeServiceServer,
            ProjectServiceServer,
            TokenServiceServer
        );
    }

    /// All services, for those who serve them alone.
    #[must_use]
    pub fn routes(&self) -> Routes {
        let mut routes = Routes::builder();
        self.add_to(&mut routes);
        routes.routes()
    }
}

impl<T: Placed> Placed for Found<T> {
    fn position(&self) -> Position {
        self.row.position()
    }
}

/// Whether a list shows what is deleted, as a part of what its tokens are of.
fn shown(show_deleted: bool) -> &'static str {
    if show_deleted { "deleted" } else { "" }
}

/// A name of the request, or what is wrong with `field`.
fn name<T: std::str::FromStr<Err: ToString>>(field: &str, text: &str) -> Result<T, Error> {
    if text.is_empty() {
        return Err(Error::invalid(field, "is missing"));
    }
    text.parse()
        .map_err(|error: T::Err| Error::invalid(field, error.to_string()))
}

/// `projects/{project}` in `parent`.
fn parent_project(text: &str) -> Result<ProjectId, Error> {
    name::<ProjectName>("parent", text).map(|name| name.project)
}

/// `projects/{project}/workflows/{workflow}` in `parent`; `-` is every workflow (AIP-159).
fn parent_workflow(text: &str) -> Result<(ProjectId, Option<WorkflowId>), Error> {
    if let Some(project) = text.strip_suffix("/workflows/-") {
        return Ok((parent_project(project)?, None));
    }
    let name: signalbox_model::ids::WorkflowName = name("parent", text)?;
    Ok((name.project, Some(name.workflow)))
}

/// The order that an `order_by` says, of a list that is sorted by the time `field` only (AIP-132).
fn order(field: &str, order_by: &str) -> Result<Order, Error> {
    let words: Vec<&str> = order_by.split_whitespace().collect();
    match words.as_slice() {
        [] => Ok(Order::Descending),
        [by, "desc"] if *by == field => Ok(Order::Descending),
        [by] | [by, "asc"] if *by == field => Ok(Order::Ascending),
        _ => Err(Error::invalid(
            "order_by",
            format!("is {order_by:?}; expected \"{field}\" or \"{field} desc\""),
        )),
    }
}

/// What a request must hold.
fn required<T>(field: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::invalid(field, "is missing"))
}
