//! The listening socket: plain or TLS, and how it ends.

use std::{
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};

/// How long requests may take to end after the stop.
const GRACE: Duration = Duration::from_secs(10);
/// How long a new connection may wait with its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// How often the certificate is looked at again.
const RELOAD: Duration = Duration::from_secs(60);

/// Where the certificate is, in PEM: the chain, and the key of its first.
#[derive(Clone, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Serve `router` on `listener` until `stop` ends, then let the requests under way end too. With
/// `tls` a certificate renewed in its files is taken up within a minute. A default
/// [`rustls::crypto::CryptoProvider`] must be installed.
///
/// # Errors
///
/// The certificate can't be read or doesn't fit its key; the socket fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let service = router.into_make_service();
    let stopped = async {
        stop.await;
        handle.graceful_shutdown(Some(GRACE));
        std::future::pending::<()>().await;
    };
    match tls {
        None => {
            let server = axum_server::from_tcp(listener)?
                .handle(handle.clone())
                .first_request_timeout(FIRST_REQUEST);
            tokio::select! {
                served = server.serve(service) => served,
                () = stopped => Ok(()),
            }
        }
        Some(tls) => {
            let config = RustlsConfig::from_pem_file(&tls.cert, &tls.key).await?;
            let server = axum_server::from_tcp_rustls(listener, config.clone())?
                .handle(handle.clone())
                .first_request_timeout(FIRST_REQUEST);
            tokio::select! {
                served = server.serve(service) => served,
                () = stopped => Ok(()),
                () = reload(&config, &tls) => Ok(()),
            }
        }
    }
}

/// Take up what changes in the certificate's files, for as long as this is polled.
async fn reload(config: &RustlsConfig, tls: &Tls) {
    let read = async |path: &Path| tokio::fs::read(path).await.ok();
    let mut known = (read(&tls.cert).await, read(&tls.key).await);
    loop {
        tokio::time::sleep(RELOAD).await;
        let (cert, key) = (read(&tls.cert).await, read(&tls.key).await);
        let (Some(pem), Some(key_pem)) = (cert.clone(), key.clone()) else { continue };
        if known == (cert.clone(), key.clone()) {
            continue;
        }
        match config.reload_from_pem(pem, key_pem).await {
            Ok(()) => {
                tracing::info!("took up the renewed certificate");
                known = (cert, key);
            }
            // the two files may be written one after the other
            Err(error) => tracing::warn!(%error, "the renewed certificate can't be used"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use rollcall_kit::tls::{Authority, install_crypto};
    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn a_request_under_way_is_answered_after_the_stop() {
        install_crypto();
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let router = Router::new().route("/", {
            let (entered, leave) = (entered.clone(), leave.clone());
            get(async move || {
                entered.notify_one();
                leave.notified().await;
                "done"
            })
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, router, None, async {
            let _ = stopped.await;
        }));
        let request = tokio::spawn(reqwest::get(format!("http://{address}/")));
        entered.notified().await;
        stop.send(()).unwrap();
        while tokio::net::TcpStream::connect(address).await.is_ok() {}
        leave.notify_one();
        assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn tls_is_served_with_the_certificate_of_the_files() {
        install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let identity = authority.issue(&[], &[std::net::Ipv4Addr::LOCALHOST.into()]).unwrap();
        let files = identity.write(dir.path(), "tls").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/", listener.local_addr().unwrap());
        let router = Router::new().route("/", get(async || "hello"));
        let tls = Some(Tls { cert: files.cert, key: files.key });
        let serving = tokio::spawn(serve(listener, router, tls, std::future::pending()));
        let root = reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.text().await.unwrap(), "hello");
        serving.abort();
    }

    #[tokio::test]
    async fn a_certificate_that_is_not_there_is_an_error() {
        install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tls = Some(Tls { cert: "/nowhere/cert".into(), key: "/nowhere/key".into() });
        assert!(serve(listener, Router::new(), tls, std::future::pending()).await.is_err());
    }
}
