//! Packets as they come: an answer that lasts, a JSON object a line.

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use hyper::body::{Bytes, Incoming};

use super::{Client, ClientError};
use crate::{
    control::Traced,
    trace::{TraceEvent, TraceOptions},
};

/// Marks an answer that goes on for as long as the client wants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting;

/// The answer with these events, which ends with them.
pub(super) fn lines(events: Traced) -> Response {
    let lines = stream::unfold(events, async |mut events| {
        let event = events.recv().await?;
        let line = serde_json::to_vec(&event).map(|mut line| {
            line.push(b'\n');
            Bytes::from(line)
        });
        Some((line, events))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-ndjson")];
    let mut response = (headers, Body::from_stream(lines)).into_response();
    response.extensions_mut().insert(Lasting);
    response
}

/// Packets as the daemon tells of them. Dropped, the daemon stops.
#[derive(Debug)]
pub struct TraceStream {
    client: Client,
    body: Incoming,
    /// What came and was not given out.
    text: Vec<u8>,
}

impl Client {
    /// Has packets told of.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn trace(&self, options: &TraceOptions) -> Result<TraceStream, ClientError> {
        let body = self.post("/v1/trace", options).await?;
        Ok(TraceStream { client: self.clone(), body, text: Vec::new() })
    }
}

impl TraceStream {
    /// The next event; none at the end.
    ///
    /// # Errors
    /// Where the connection breaks, the daemon is silent for long, or says what is not understood.
    pub async fn next(&mut self) -> Result<Option<TraceEvent>, ClientError> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                return self.client.understand(&line).map(Some);
            }
            match self.client.piece(&mut self.body).await? {
                Some(piece) => self.text.extend_from_slice(&piece),
                None => return Ok(None),
            }
        }
    }
}
