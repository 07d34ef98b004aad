//! The second port, never public: is the process alive, is it ready, and its metrics.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio_util::sync::CancellationToken;

use crate::{ledger::Ledger, telemetry::Metrics};

/// Whether the process is ready for work. Cheap to clone.
#[derive(Clone, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Serve `/healthz`, `/readyz` and `/metrics` until `stop`.
///
/// # Errors
/// The address can't be listened on.
pub async fn serve(
    at: SocketAddr,
    ready: Ready,
    ledger: Ledger,
    metrics: Metrics,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let readyz = move || async move {
        match ledger.ping().await {
            Ok(()) if ready.get() => (StatusCode::OK, "ok"),
            Ok(()) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the ledger does not answer"),
        }
    };
    let text = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let metrics =
        move || async move { ([(header::CONTENT_TYPE, text)], metrics.text()).into_response() };
    let app = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics));
    let listener = tokio::net::TcpListener::bind(at).await?;
    // at the stop nobody who asks is waited for
    stop.run_until_cancelled(axum::serve(listener, app).into_future()).await.unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use rollcall_kit::process::free_port;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        time::timeout,
    };

    use super::*;

    #[tokio::test]
    async fn whoever_asks_no_whole_question_does_not_hold_the_stop() {
        let (_folder, ledger) = crate::ledger::tests::ledger().await;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
        let stop = CancellationToken::new();
        let serving =
            tokio::spawn(serve(at, Ready::default(), ledger, Metrics::new(), stop.clone()));
        let mut asking = loop {
            match TcpStream::connect(at).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        asking.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea").await.unwrap();
        asking.read_u8().await.unwrap();
        stop.cancel();
        timeout(Duration::from_secs(5), serving).await.expect("held").unwrap().unwrap();
    }
}
