//! Asks the daemon through its admin socket.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{
    net::UnixStream,
    time::{sleep, timeout},
};

use super::{Done, EventFilter, Failure, MATCHED, OrderBody, PLAN, PlanName};
use crate::{
    control::{BackendName, Order},
    listing::{FlowName, FlowQuery},
};

/// How long the daemon may take to begin its answer, and then for each piece of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to connect while the daemon's queue is full.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("no socket {}: is lb running? Start it with `lb run --config FILE`", .0.display())]
    NoSocket(PathBuf),
    /// Nobody listens on the socket.
    #[error(
        "nobody answers on {}: lb has died; start it again with `lb run --config FILE`",
        .0.display()
    )]
    NobodyListens(PathBuf),
    /// Something else is there.
    #[error("{} is no socket: name the socket of lb with --socket", .0.display())]
    NotASocket(PathBuf),
    /// Only root may, or a group as well.
    #[error(
        "permission denied for {}: lb's socket needs root, or the group that the config's admin_group \
         names; try sudo", .0.display()
    )]
    PermissionDenied(PathBuf),
    /// The daemon takes too long.
    #[error("lb has not answered on {} within {} s", .0.display(), PATIENCE.as_secs())]
    TooLate(PathBuf),
    /// The connection failed for another reason.
    #[error("cannot connect to {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The connection broke, or what listens there is not lb.
    #[error("the answer on {} is broken", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: hyper::Error,
    },
    /// The answer is none of ours.
    #[error("the answer on {} is not understood ({status}): is this lb, of this version?", path.display())]
    NotUnderstood {
        /// The socket.
        path: PathBuf,
        /// Of the answer.
        status: StatusCode,
    },
    /// The daemon refuses; its own words.
    #[error("{0}")]
    Refused(String),
}

/// Asks the daemon that listens on one socket; a connection for each request.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A client of the daemon that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The JSON text of `what` there is to show, one of `snapshot`, `summary`, `services`, `backends`,
    /// `keepalives`, `drops`.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn show(&self, what: &str) -> Result<Bytes, ClientError> {
        self.ask(Method::GET, &format!("/v1/{what}"), Bytes::new()).await
    }

    /// The JSON text of the flows that are asked for, and how many there are on all pages, where that
    /// is counted.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn flows(&self, query: &FlowQuery) -> Result<(Bytes, Option<u64>), ClientError> {
        let query = encoded(serde_urlencoded::to_string(query))?;
        let path = format!("/v1/flows?{query}");
        let answer = self.ask_for_all(Method::GET, &path, Bytes::new()).await?;
        let (head, text) = answer.into_parts();
        let matched = head.headers.get(MATCHED).and_then(|its| its.to_str().ok()?.parse().ok());
        Ok((text, matched))
    }

    /// The JSON text of why some connections are where they are.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn flow(&self, name: &FlowName) -> Result<Bytes, ClientError> {
        let query = encoded(serde_urlencoded::to_string(name))?;
        self.ask(Method::GET, &format!("/v1/flow?{query}"), Bytes::new()).await
    }

    /// The JSON text of the events that match `filter`.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn events(&self, filter: EventFilter) -> Result<Bytes, ClientError> {
        let query = encoded(serde_urlencoded::to_string(filter))?;
        self.ask(Method::GET, &format!("/v1/events?{query}"), Bytes::new()).await
    }

    /// Gives an order for one backend; what was done, in a sentence.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn order(&self, name: BackendName, order: Order) -> Result<String, ClientError> {
        let BackendName { service, backend } = name;
        self.do_it("/v1/order", &OrderBody { service, backend, order }).await
    }

    /// Has the config file read again; what was done, in a sentence.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn reload(&self) -> Result<String, ClientError> {
        self.do_it("/v1/reload", &()).await
    }

    /// The JSON text of what a reload would change if the config file had this text; `file` is the name
    /// by which refusals call it.
    ///
    /// # Errors
    /// Where the daemon cannot be asked, or refuses.
    pub async fn plan(&self, file: &Path, text: String) -> Result<Bytes, ClientError> {
        let name = PlanName { file: file.to_owned() };
        let query = encoded(serde_urlencoded::to_string(name))?;
        self.ask(Method::POST, &format!("{PLAN}?{query}"), text.into()).await
    }

    /// What a JSON text of the daemon says.
    ///
    /// # Errors
    /// Where it is not what it should be.
    pub fn understand<T: DeserializeOwned>(&self, text: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(text).map_err(|_| self.not_understood(StatusCode::OK))
    }

    async fn do_it(&self, path: &str, body: &impl Serialize) -> Result<String, ClientError> {
        let body = encoded(serde_json::to_vec(body))?;
        let text = self.ask(Method::POST, path, body.into()).await?;
        Ok(self.understand::<Done>(&text)?.done)
    }

    /// The body of the answer to this text, where it is a success; it is not read yet.
    pub(super) async fn post(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Incoming, ClientError> {
        let body = encoded(serde_json::to_vec(body))?;
        self.begin(Method::POST, path, body.into()).await.map(Response::into_body)
    }

    /// The whole body of the answer, where it is a success.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        self.ask_for_all(method, path, body).await.map(Response::into_body)
    }

    /// The answer, where it is a success.
    async fn ask_for_all(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Bytes>, ClientError> {
        let (head, body) = self.begin(method, path, body).await?.into_parts();
        Ok(Response::from_parts(head, self.read(body).await?))
    }

    /// The answer, where it is a success; its body is not read yet.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = encoded(
            Request::builder()
                .method(method)
                .uri(path)
                .header(header::HOST, "lb")
                .body(Full::new(body)),
        )?;
        let response = self.in_time(self.send(request)).await??;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = self.read(response.into_body()).await?;
        match serde_json::from_slice(&text) {
            Ok(Failure { error }) => Err(ClientError::Refused(error)),
            Err(_) => Err(self.not_understood(status)),
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError> {
        let stream = TokioIo::new(self.connect().await?);
        let broken = |source| self.broken(source);
        let (mut sender, connection) = http1::handshake(stream).await.map_err(broken)?;
        // Its failure is also that of the request or of the body.
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(CONNECT_AGAIN).await;
                }
                Err(error) => return Err(why_not_connected(&self.socket, error)),
            }
        }
    }

    async fn read(&self, mut body: Incoming) -> Result<Bytes, ClientError> {
        let mut text = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            text.extend_from_slice(&piece);
        }
        Ok(text.into())
    }

    /// The next piece of an answer; none at its end.
    pub(super) async fn piece(&self, body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.in_time(body.frame()).await? {
            if let Ok(data) = frame.map_err(|source| self.broken(source))?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, ClientError> {
        timeout(PATIENCE, step).await.map_err(|_| ClientError::TooLate(self.socket.clone()))
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), source }
    }

    fn not_understood(&self, status: StatusCode) -> ClientError {
        ClientError::NotUnderstood { path: self.socket.clone(), status }
    }
}

/// A request that cannot be written is refused, as the daemon would refuse it.
fn encoded<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, ClientError> {
    result.map_err(|error| ClientError::Refused(format!("the request cannot be sent: {error}")))
}

fn why_not_connected(socket: &Path, error: io::Error) -> ClientError {
    let path = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => ClientError::NoSocket(path),
        io::ErrorKind::PermissionDenied => ClientError::PermissionDenied(path),
        // Also the kernel's answer where a file of another type is there.
        io::ErrorKind::ConnectionRefused => match fs::metadata(socket) {
            Ok(found) if !found.file_type().is_socket() => ClientError::NotASocket(path),
            _ => ClientError::NobodyListens(path),
        },
        _ => ClientError::Connect { path, source: error },
    }
}
