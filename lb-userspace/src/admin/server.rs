//! Accepts connections on the admin socket and answers one request on each, within limits.

use std::{convert::Infallible, future::Future, path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    body::{Body as _, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::UnixListener,
    sync::{Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};
use tower_service::Service;

use super::{
    PLAN,
    connections::{Asked, Connections},
    group::id_of,
    routes::{self, Problem},
    socket::{AdminError, Socket},
    trace::Lasting,
};
use crate::{
    config::{self, AdminGroup},
    control::Handle,
};

/// The largest body of a request, in bytes, but of one with the text of a config file.
const MAX_BODY: usize = 64 * 1024;
/// The largest head of a request, in bytes; also how much of an answer waits to be written.
const MAX_BUFFER: usize = 64 * 1024;
/// Between two tries to accept a connection after a failure, which is the lack of a resource.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

const TOO_MANY: &str = "too many requests at a time: try again in a moment";

/// What one client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. Beyond it, those without a complete request are refused, oldest
    /// first; where there is none of these, the new one is.
    pub connections: usize,
    /// Until the head of a request is complete, and from then on until its body is.
    pub request: Duration,
    /// Until the daemon has an answer; less than the patience of [`Client`](super::Client), which
    /// so learns the reason.
    pub answer: Duration,
    /// From first to last: what the client has not read by then it does not get, but of an answer that
    /// lasts.
    pub connection: Duration,
    /// Requests with a large body at a time; others wait, as long as theirs may take to come.
    pub large: usize,
    /// Lists of flows at a time.
    pub flow_lists: usize,
    /// How long requests may go on at the end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            request: Duration::from_secs(5),
            answer: Duration::from_secs(8),
            connection: Duration::from_secs(30),
            large: 1,
            flow_lists: 2,
            grace: Duration::from_secs(1),
        }
    }
}

/// The admin socket, made and listening.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    limits: Limits,
}

impl Server {
    /// Makes the socket `path` with mode 0600 and listens on it. Its directory is made where there
    /// is none; the socket of a dead daemon is replaced. Clients that connect wait for
    /// [`Server::serve`].
    ///
    /// # Errors
    /// Where another daemon answers on `path`, where something else than a socket is there, and
    /// where the system refuses.
    pub fn bind(path: &Path) -> Result<Self, AdminError> {
        Self::bind_for(path, None)
    }

    /// As [`Server::bind`]; where there is a group, the socket is its as well, with mode 0660.
    ///
    /// # Errors
    /// As [`Server::bind`], and where the host does not know the group.
    pub fn bind_for(path: &Path, group: Option<&AdminGroup>) -> Result<Self, AdminError> {
        let group = group.map(id_of).transpose()?;
        Ok(Self { socket: Socket::bind(path, group)?, limits: Limits::default() })
    }

    /// With other limits than the usual ones.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Answers until `shutdown` is complete, then removes the socket and lets open requests end.
    ///
    /// # Errors
    /// Where the runtime cannot take the socket.
    pub async fn serve(
        self,
        handle: Handle,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), AdminError> {
        let limits = self.limits;
        let (listener, name) = self.socket.into_parts();
        let listener = UnixListener::from_std(listener).map_err(|source| AdminError::Socket {
            what: "listen on",
            path: name.path().to_owned(),
            source,
        })?;
        let mut connections = Connections::new(limits.connections);
        let desk = Desk::new(routes::router(handle, limits.flow_lists), limits.clone());

        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) if connections.make_room() => {
                    let asked = Asked::default();
                    let task = desk.clone().converse(stream, asked.clone());
                    connections.add(asked, tokio::spawn(task));
                }
                Ok((stream, _)) => drop(tokio::spawn(refuse(stream))),
                Err(error) => {
                    log::warn!("cannot accept on {}: {error}", name.path().display());
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(ACCEPT_AGAIN) => {}
                    }
                }
            }
        }
        drop(name);
        drop(listener);
        connections.close(limits.grace).await;
        Ok(())
    }
}

/// Where requests are taken, within limits.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    router: Router,
    limits: Limits,
    large: Arc<Semaphore>,
}

impl Desk {
    pub(crate) fn new(router: Router, limits: Limits) -> Self {
        let large = Arc::new(Semaphore::new(limits.large));
        Self { router, limits, large }
    }

    /// One request and its answer.
    pub(crate) async fn converse<S>(self, stream: S, asked: Asked)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Limits { request, connection, .. } = self.limits;
        let its = asked.clone();
        let service = service_fn(move |request| {
            let (desk, asked) = (self.clone(), asked.clone());
            async move { Ok::<_, Infallible>(desk.answer(request, &asked).await) }
        });
        let mut conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(request)
            .keep_alive(false)
            // A client may close its sending side after the request and still read the answer.
            .half_close(true)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let ended = tokio::select! {
            ended = timeout(connection, &mut conversation) => ended,
            () = its.parted() => {
                refuse(conversation.into_parts().io.into_inner()).await;
                return;
            }
        };
        let ended = match ended {
            // Who gives it to a client ends it where the client no longer reads.
            Err(_) if its.is_lasting() => Ok(conversation.await),
            ended => ended,
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => log::debug!("a client of the admin socket: {error}"),
            Err(_) => log::debug!("a client of the admin socket has not read its answer in time"),
        }
    }

    async fn answer(self, request: Request<Incoming>, asked: &Asked) -> Response {
        let (head, body) = request.into_parts();
        let (body, _large) =
            match timeout(self.limits.request, self.take(head.uri.path(), body)).await {
                Ok(Ok(taken)) => taken,
                Ok(Err(problem)) => return problem.into_response(),
                Err(_) => {
                    let text = "the body did not come in time";
                    return Problem::new(StatusCode::REQUEST_TIMEOUT, text).into_response();
                }
            };
        if !asked.set() {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY).into_response();
        }
        let answer = self.router.clone().call(Request::from_parts(head, Body::from(body)));
        match timeout(self.limits.answer, answer).await {
            Ok(Ok(response)) => {
                if response.extensions().get::<Lasting>().is_some() {
                    asked.set_lasting();
                }
                response
            }
            Err(_) => {
                let seconds = self.limits.answer.as_secs_f64();
                let text = format!(
                    "the daemon has not answered within {seconds} s; it may still do what was asked"
                );
                Problem::new(StatusCode::GATEWAY_TIMEOUT, text).into_response()
            }
        }
    }

    /// The whole body, and where it may be a large one, the right to have it.
    async fn take(
        &self,
        path: &str,
        body: Incoming,
    ) -> Result<(Bytes, Option<SemaphorePermit<'_>>), Problem> {
        let most = if path == PLAN { config::MAX_FILE_BYTES as usize } else { MAX_BODY };
        let too_large = || {
            let text = format!("the body is larger than {} KiB", most / 1024);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        // As announced.
        if body.size_hint().lower() > most as u64 {
            return Err(too_large());
        }
        let permit = if path == PLAN { self.large.acquire().await.ok() } else { None };
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok((body.to_bytes(), permit)),
            Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
            Err(error) => {
                let text = format!("the body cannot be read: {error}");
                Err(Problem::new(StatusCode::BAD_REQUEST, text))
            }
        }
    }
}

/// Refuses, and waits for nobody: what does not fit in the socket's buffer is lost.
async fn refuse(mut stream: impl AsyncWrite + Unpin) {
    let body = format!("{{\"error\":\"{TOO_MANY}\"}}\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    if timeout(Duration::ZERO, stream.write_all(answer.as_bytes())).await.is_err() {
        log::debug!("a client of the admin socket cannot be refused");
    }
}
