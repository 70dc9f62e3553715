//! Accepts connections on the admin socket and answers one request on each, within limits.

use std::{convert::Infallible, future::Future, path::Path, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixListener, UnixStream},
    time::{sleep, timeout},
};
use tower_service::Service;

use super::{
    connections::{Asked, Connections},
    group::id_of,
    routes::{self, Problem},
    socket::{AdminError, Socket},
    trace::Lasting,
};
use crate::{config::AdminGroup, control::Handle};

/// The largest body of a request, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The largest head of a request, in bytes; also how much of an answer waits to be written.
const MAX_BUFFER: usize = 64 * 1024;
/// Between two tries to accept a connection after a failure, which is the lack of a resource.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

const BUSY: &str = "{\"error\":\"too many requests at a time: try again in a moment\"}\n";

/// What one client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time. Beyond it, those without a complete request are closed, oldest
    /// first; where there is none of these, the new one is refused.
    pub connections: usize,
    /// Until the head of a request is complete, and from then on until its body is.
    pub request: Duration,
    /// Until the daemon has an answer; less than the patience of [`Client`](super::Client), which
    /// so learns the reason.
    pub answer: Duration,
    /// From first to last: what the client has not read by then it does not get, but of an answer that
    /// lasts.
    pub connection: Duration,
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
        let router = routes::router(handle, limits.flow_lists);
        let mut connections = Connections::new(limits.connections);

        tokio::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) if connections.make_room() => {
                    let asked = Asked::default();
                    let task = converse(stream, router.clone(), limits.clone(), asked.clone());
                    connections.add(asked, tokio::spawn(task));
                }
                Ok((stream, _)) => refuse(&stream),
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

/// One request and its answer.
pub async fn converse<S>(stream: S, router: Router, limits: Limits, asked: Asked)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Limits { request, connection, .. } = limits;
    let its = asked.clone();
    let service = service_fn(move |request| {
        let (router, limits, asked) = (router.clone(), limits.clone(), asked.clone());
        async move { Ok::<_, Infallible>(answer(request, router, &limits, &asked).await) }
    });
    let mut conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(request)
        .keep_alive(false)
        // A client may close its sending side after the request and still read the answer.
        .half_close(true)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let ended = match timeout(connection, &mut conversation).await {
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

async fn answer(
    request: Request<Incoming>,
    mut router: Router,
    limits: &Limits,
    asked: &Asked,
) -> Response {
    let (head, body) = request.into_parts();
    let body = match timeout(limits.request, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("the body is larger than {} KiB", MAX_BODY / 1024);
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
        }
        Ok(Err(error)) => {
            let text = format!("the body cannot be read: {error}");
            return Problem::new(StatusCode::BAD_REQUEST, text).into_response();
        }
        Err(_) => {
            let text = "the body did not come in time";
            return Problem::new(StatusCode::REQUEST_TIMEOUT, text).into_response();
        }
    };
    asked.set();
    match timeout(limits.answer, router.call(Request::from_parts(head, Body::from(body)))).await {
        Ok(Ok(response)) => {
            if response.extensions().get::<Lasting>().is_some() {
                asked.set_lasting();
            }
            response
        }
        Err(_) => {
            let seconds = limits.answer.as_secs_f64();
            let text = format!(
                "the daemon has not answered within {seconds} s; it may still do what was asked"
            );
            Problem::new(StatusCode::GATEWAY_TIMEOUT, text).into_response()
        }
    }
}

/// Refuses without waiting for anything: what does not fit in the socket's buffer is lost.
fn refuse(stream: &UnixStream) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{BUSY}",
        BUSY.len()
    );
    if let Err(error) = stream.try_write(answer.as_bytes()) {
        log::debug!("a client of the admin socket cannot be refused: {error}");
    }
}
