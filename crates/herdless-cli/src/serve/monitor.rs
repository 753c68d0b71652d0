//! `/metrics` and `/health`, over HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::figures::Figures;
use super::service::Service;
use crate::AnyError;

pub(super) struct Monitor {
    listener: TcpListener,
    address: SocketAddr,
}

/// Those who ask at once; others wait until they are accepted.
const MAX_CONNECTIONS: usize = 16;
/// How long a connection may take for its one request and the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of a request is read.
const MAX_HEAD: usize = 8 * 1024;

impl Monitor {
    pub(super) async fn bind(address: &str, allow_remote: bool) -> Result<Self, AnyError> {
        let failed = |error| format!("cannot listen on {address} for metrics: {error}");
        let addresses: Vec<_> = lookup_host(address).await.map_err(failed)?.collect();
        if let Some(remote) = addresses.iter().find(|address| !address.ip().is_loopback() && !allow_remote) {
            return Err(format!(
                "{remote} can be reached from other machines: say --insecure-allow-remote if everybody there may read the \
                 metrics"
            )
            .into());
        }
        let listener = TcpListener::bind(&*addresses).await.map_err(failed)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until it is dropped.
    pub(super) async fn serve(self, service: Arc<Service>, figures: Figures) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let answered = answer_one(stream, service.clone(), figures.clone());
                    tokio::spawn(async move {
                        // Whoever asks and does not listen is not waited for.
                        let _ = timeout(PATIENCE, answered).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, most likely: some will come free.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}

async fn answer_one(stream: TcpStream, service: Arc<Service>, figures: Figures) {
    let answer = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &service, &figures);
        async move { Ok::<_, Infallible>(response) }
    });
    let served =
        http1::Builder::new().keep_alive(false).max_buf_size(MAX_HEAD).serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a request for metrics or health");
    }
}

fn answer(request: &Request<Incoming>, service: &Service, figures: &Figures) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n".into());
    }
    match request.uri().path() {
        "/metrics" => {
            service.look();
            text(StatusCode::OK, figures.text())
        }
        "/health" => {
            let (is_well, words) = service.health();
            text(if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, words + "\n")
        }
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /health\n".into()),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    // The version is that of the text format of Prometheus; to others it says nothing.
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    response
}
