//! Answers Prometheus, and nobody for long.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use thiserror::Error;
use tokio::time::sleep;

use super::{CONTENT_TYPE, text};
use crate::{
    admin::{Asked, Connections, Desk, Limits},
    control::Handle,
};

/// Connections at a time.
const CONNECTIONS: usize = 16;
/// Between two tries to accept a connection after a failure, which is the lack of a resource.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Why nobody can ask.
#[derive(Debug, Error)]
#[error("cannot listen on metrics_listen, {address}: {source}")]
pub struct ServerError {
    address: SocketAddr,
    source: io::Error,
}

/// A listening socket for Prometheus.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Listens on `address`.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |source| ServerError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `shutdown` is complete.
    ///
    /// # Errors
    /// Where the runtime cannot take the socket.
    pub async fn serve(
        self,
        handle: Handle,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let Self { listener, address } = self;
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|source| ServerError { address, source })?;
        let router = Router::new().route("/metrics", get(metrics)).with_state(handle);
        let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
        let mut connections = Connections::new(limits.connections);
        let desk = Desk::new(router, limits.clone());
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
                // Closed: who asks so often asks again.
                Ok(_) => {}
                Err(error) => {
                    log::warn!("cannot accept on metrics_listen, {address}: {error}");
                    tokio::select! {
                        () = &mut shutdown => break,
                        () = sleep(ACCEPT_AGAIN) => {}
                    }
                }
            }
        }
        connections.close(limits.grace).await;
        Ok(())
    }
}

async fn metrics(State(handle): State<Handle>) -> Response {
    let refused = |status: StatusCode, why: String| (status, format!("{why}\n")).into_response();
    match handle.snapshot().await {
        Ok(snapshot) => match text(snapshot) {
            Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
            Err(error) => refused(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        Err(error) => refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    }
}
