//! What each path of the admin socket answers.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{RawQuery, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use hyper::body::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    Done, EventFilter, Failure, MATCHED, MAX_DEADLINE, OrderBody, PLAN, PlanName,
    rows::{Pieces, in_batches},
    trace::lines,
};
use crate::{
    control::{BackendName, Handle, Order, Refused},
    listing::{FlowName, FlowQuery},
    report::Snapshot,
    trace::{MAX_RATE, TraceOptions},
};

/// A request that is not fulfilled.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }

    fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::Because(_) => StatusCode::CONFLICT,
            Refused::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refused.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, one(&Failure { error: self.text })).into_response()
    }
}

#[derive(Debug, Clone)]
struct Daemon {
    handle: Handle,
    /// A list of flows takes memory until its client has read it.
    flow_lists: Arc<Semaphore>,
}

impl Daemon {
    fn may_list(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.flow_lists).try_acquire_owned().map_err(|_| {
            let text = "too many lists of flows are being read: try again in a moment";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }
}

/// All routes. At most `flow_lists` lists of flows exist at a time.
pub(super) fn router(handle: Handle, flow_lists: usize) -> Router {
    let daemon = Daemon { handle, flow_lists: Arc::new(Semaphore::new(flow_lists)) };
    Router::new()
        .route("/v1/snapshot", get(snapshot))
        .route("/v1/summary", get(summary))
        .route("/v1/services", get(services))
        .route("/v1/backends", get(backends))
        .route("/v1/keepalives", get(keepalives))
        .route("/v1/drops", get(drops))
        .route("/v1/flows", get(flows))
        .route("/v1/flow", get(flow))
        .route("/v1/events", get(events))
        .route("/v1/order", post(order))
        .route("/v1/reload", post(reload))
        .route(PLAN, post(plan))
        .route("/v1/trace", post(trace))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(daemon)
}

async fn snapshot(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    Ok(one(&daemon.handle.snapshot().await?))
}

async fn summary(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    Ok(one(&daemon.handle.snapshot().await?.summary))
}

async fn services(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    part(&daemon, |snapshot| snapshot.services).await
}

async fn backends(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    part(&daemon, |snapshot| snapshot.backends).await
}

async fn keepalives(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    part(&daemon, |snapshot| snapshot.keepalives).await
}

async fn drops(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    part(&daemon, |snapshot| snapshot.drops).await
}

async fn part<T>(daemon: &Daemon, of: fn(Snapshot) -> Vec<T>) -> Result<Response, Problem>
where
    T: Serialize + Send + 'static,
{
    Ok(many(of(daemon.handle.snapshot().await?).into_iter()))
}

async fn flows(
    State(daemon): State<Daemon>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query: FlowQuery = asked_of_flows(query)?;
    let permit = daemon.may_list()?;
    let list = daemon.handle.flows(query).await?;
    let body = Body::from_stream(in_batches(list.rows, permit));
    let mut response = (JSON, body).into_response();
    if let Some(matched) = list.matched {
        response.headers_mut().insert(MATCHED, matched.into());
    }
    Ok(response)
}

async fn flow(
    State(daemon): State<Daemon>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let name: FlowName = asked_of_flows(query)?;
    let _permit = daemon.may_list()?;
    Ok(one(&daemon.handle.flow(name).await?))
}

fn asked_of_flows<T: DeserializeOwned>(query: Option<String>) -> Result<T, Problem> {
    serde_urlencoded::from_str(&query.unwrap_or_default())
        .map_err(|error| Problem::bad(format!("what is asked of flows is wrong: {error}")))
}

async fn events(
    State(daemon): State<Daemon>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let EventFilter { after } = serde_urlencoded::from_str(&query.unwrap_or_default())
        .map_err(|error| Problem::bad(format!("the filter of the events is wrong: {error}")))?;
    Ok(many(daemon.handle.events(after).await?.into_iter()))
}

async fn order(State(daemon): State<Daemon>, body: Bytes) -> Result<Response, Problem> {
    let OrderBody { service, backend, order } = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the body is no order: {error}")))?;
    if let Order::Drain { deadline: Some(deadline) } = order
        && deadline > MAX_DEADLINE
    {
        return Err(Problem::bad("the deadline of a drain is at most 365 days"));
    }
    Ok(one(&Done { done: daemon.handle.order(BackendName { service, backend }, order).await? }))
}

async fn reload(State(daemon): State<Daemon>) -> Result<Response, Problem> {
    Ok(one(&Done { done: daemon.handle.reload().await? }))
}

async fn plan(
    State(daemon): State<Daemon>,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, Problem> {
    let PlanName { file } = serde_urlencoded::from_str(&query.unwrap_or_default())
        .map_err(|error| Problem::bad(format!("it is not said whose text this is: {error}")))?;
    let text = String::from_utf8(body.into())
        .map_err(|_| Problem::bad(format!("{} is not valid UTF-8", file.display())))?;
    Ok(one(&daemon.handle.plan(file, text).await?))
}

async fn trace(State(daemon): State<Daemon>, body: Bytes) -> Result<Response, Problem> {
    let options: TraceOptions = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad(format!("the body does not say what to trace: {error}")))?;
    if !(1..=MAX_RATE).contains(&options.rate) {
        return Err(Problem::bad(format!("the rate is 1 to {MAX_RATE}")));
    }
    Ok(lines(daemon.handle.trace(options).await?))
}

async fn unknown_path(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let text = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, text)
}

const JSON: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];

fn one(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(mut text) => {
            text.push(b'\n');
            (JSON, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// An array, written as the client reads it.
fn many<T>(rows: impl Iterator<Item = T> + Send + 'static) -> Response
where
    T: Serialize + 'static,
{
    (JSON, Body::from_stream(futures_util::stream::iter(Pieces::new(rows)))).into_response()
}
