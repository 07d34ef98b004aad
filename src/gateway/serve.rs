//! The listening socket: plain or TLS, and how it ends.

use std::{
    future::{Ready, ready},
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::{Router, middleware::from_fn_with_state};
use axum_server::{
    Handle, Server,
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use ipnet::IpNet;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;

use super::{
    address,
    door::{self, Door},
};

/// How long requests may take to end after the stop.
const GRACE: Duration = Duration::from_secs(10);
/// How slow a client may be, and how many there may be at once.
const PATIENCE: Patience = Patience {
    request: Duration::from_secs(30),
    body: Duration::from_secs(60),
    answer: Duration::from_secs(30),
    connections: 4096,
};
/// How often the certificate is looked at again.
const RELOAD: Duration = Duration::from_secs(60);

/// Where the certificate is, in PEM: the chain, and the key of its first.
#[derive(Clone, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What is borne of clients.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// How long a connection may be open without a whole request head: at first and between two.
    request: Duration,
    /// How long a request's body may take.
    body: Duration,
    /// How long a client may take nothing of what it is sent.
    answer: Duration,
    /// How many may be open at once. The others wait to be accepted.
    connections: usize,
}

/// Serve `router` on `listener` until `stop` ends, then let the requests under way end too. What
/// `trusted_proxies` say of where a request comes from is believed. With `tls` a certificate renewed
/// in its files is taken up within a minute. A default [`rustls::crypto::CryptoProvider`] must be
/// installed.
///
/// It speaks HTTP/1.1 alone: who opens many streams in a connection of HTTP/2 would count as one, and
/// a stream that its client doesn't read stands still unnoticed, with all that it was to be sent.
///
/// # Errors
///
/// The certificate can't be read or doesn't fit its key; the socket fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    trusted_proxies: Vec<IpNet>,
    tls: Option<Tls>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    let router = router.layer(from_fn_with_state(trusted_proxies.into(), address::find));
    serve_with(PATIENCE, listener, router, tls, stop).await
}

async fn serve_with(
    patience: Patience,
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    stop: impl Future<Output = ()>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let handle = Handle::new();
    let router = router.layer(from_fn_with_state(patience.body, door::hurry));
    let service = Door::new(router, patience.connections);
    let stopped = async {
        stop.await;
        handle.graceful_shutdown(Some(GRACE));
        std::future::pending::<()>().await;
    };
    match tls {
        None => {
            let server = axum_server::from_tcp(listener)?.handle(handle.clone());
            let server = patience.teach(server).acceptor(Taken(patience.answer));
            tokio::select! {
                served = server.serve(service) => served,
                () = stopped => Ok(()),
            }
        }
        Some(tls) => {
            let (cert, key) = (tokio::fs::read(&tls.cert).await?, tokio::fs::read(&tls.key).await?);
            let config = RustlsConfig::from_config(config(cert, key).await?);
            let server = axum_server::from_tcp(listener)?.handle(handle.clone());
            let acceptor = RustlsAcceptor::new(config.clone()).acceptor(Taken(patience.answer));
            let server = patience.teach(server).acceptor(acceptor);
            tokio::select! {
                served = server.serve(service) => served,
                () = stopped => Ok(()),
                () = reload(&config, &tls) => Ok(()),
            }
        }
    }
}

impl Patience {
    fn teach<A>(self, server: Server<SocketAddr, A>) -> Server<SocketAddr, A> {
        let mut server = server.first_request_timeout(self.request).http1_only();
        server.http_builder().http1().header_read_timeout(self.request);
        server
    }
}

/// Breaks off a connection whose client takes nothing of what it is sent for so long.
#[derive(Clone, Copy)]
struct Taken(Duration);

impl<S> Accept<TcpStream, S> for Taken {
    type Stream = Pin<Box<TimeoutStream<TcpStream>>>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.0));
        ready(Ok((Box::pin(stream), service)))
    }
}

/// What TLS goes by with this certificate and key, in PEM.
async fn config(cert: Vec<u8>, key: Vec<u8>) -> io::Result<Arc<ServerConfig>> {
    let read = RustlsConfig::from_pem(cert, key).await?;
    let mut config = ServerConfig::clone(&read.get_inner());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config.into())
}

/// Take up what changes in the certificate's files, for as long as this is polled.
async fn reload(serving: &RustlsConfig, tls: &Tls) {
    let read = async |path: &Path| tokio::fs::read(path).await.ok();
    let mut known = (read(&tls.cert).await, read(&tls.key).await);
    loop {
        tokio::time::sleep(RELOAD).await;
        let (cert, key) = (read(&tls.cert).await, read(&tls.key).await);
        let (Some(pem), Some(key_pem)) = (cert.clone(), key.clone()) else { continue };
        if known == (cert.clone(), key.clone()) {
            continue;
        }
        match config(pem, key_pem).await {
            Ok(renewed) => {
                serving.reload_from_config(renewed);
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
    use axum::{
        Extension,
        body::{Body, Bytes},
        routing::{get, post},
    };
    use rollcall_kit::tls::{Authority, install_crypto};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::{Notify, oneshot},
        time::timeout,
    };

    use super::{address::ClientAddress, *};

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
        let serving = tokio::spawn(serve(listener, router, vec![], None, async {
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
        let serving = tokio::spawn(serve(listener, router, vec![], tls, std::future::pending()));
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
        assert!(serve(listener, Router::new(), vec![], tls, std::future::pending()).await.is_err());
    }

    #[tokio::test]
    async fn a_trusted_proxy_says_where_a_request_comes_from() {
        install_crypto();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().route(
            "/",
            get(async |Extension(client): Extension<ClientAddress>| client.network().to_string()),
        );
        let proxies = vec!["127.0.0.0/8".parse().unwrap()];
        let serving = tokio::spawn(serve(listener, router, proxies, None, std::future::pending()));
        let ask = async |forwarded: &str| {
            let request = reqwest::Client::new().get(&url).header("x-forwarded-for", forwarded);
            request.send().await.unwrap().text().await.unwrap()
        };
        assert_eq!(ask("203.0.113.5, 192.0.2.1, 127.0.0.2").await, "192.0.2.1");
        assert_eq!(ask("nonsense").await, "127.0.0.1");
        serving.abort();
    }

    const LONG: Duration = Duration::from_secs(60);

    /// A gateway with this patience; its address.
    fn patient(patience: Patience) -> SocketAddr {
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/", post(async |body: Bytes| body.len().to_string()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve_with(patience, listener, router, None, std::future::pending()));
        address
    }

    /// What the server says until it closes the connection.
    async fn to_the_end(stream: &mut TcpStream) -> String {
        let mut said = Vec::new();
        timeout(LONG, stream.read_to_end(&mut said)).await.unwrap().unwrap();
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_more_is_let_go() {
        let request = Duration::from_millis(200);
        let address = patient(Patience { request, body: LONG, answer: LONG, connections: 10 });
        let whole = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        for (sent, answers) in [("", 0), ("GET / HTTP/1.1\r\nho", 0), (whole, 1)] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(sent.as_bytes()).await.unwrap();
            let said = to_the_end(&mut stream).await;
            assert_eq!(said.matches("200 OK").count(), answers, "{sent:?}: {said}");
        }
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let body = Duration::from_millis(200);
        let address = patient(Patience { request: LONG, body, answer: LONG, connections: 10 });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345";
        stream.write_all(head.as_bytes()).await.unwrap();
        let said = to_the_end(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_is_not_kept() {
        install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new().unwrap();
        let identity = authority.issue(&[], &[std::net::Ipv4Addr::LOCALHOST.into()]).unwrap();
        let files = identity.write(dir.path(), "tls").unwrap();
        let root = reqwest::Certificate::from_pem(authority.ca_pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
        let answer = Duration::from_millis(200);
        for tls in [None, Some(Tls { cert: files.cert, key: files.key })] {
            // more than fits on the way
            let large = Arc::new(vec![7; 64 << 20]);
            let kept = Arc::downgrade(&large);
            let router = Router::new()
                .route("/", get(async move || Body::from(Bytes::from_owner(Large(large.clone())))));
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let scheme = if tls.is_some() { "https" } else { "http" };
            let url = format!("{scheme}://{}/", listener.local_addr().unwrap());
            let patience = Patience { request: LONG, body: LONG, answer, connections: 10 };
            let serving =
                tokio::spawn(serve_with(patience, listener, router, tls, std::future::pending()));
            let unread = client.get(url).send().await.unwrap();
            assert_eq!(unread.content_length(), Some(64 << 20));
            let one_left = async {
                // the router's own
                while kept.strong_count() > 1 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            timeout(LONG, one_left).await.expect("it is let go");
            assert!(unread.bytes().await.is_err(), "and the client sees that it isn't whole");
            serving.abort();
        }
    }

    struct Large(Arc<Vec<u8>>);

    impl AsRef<[u8]> for Large {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    #[tokio::test]
    async fn a_connection_beyond_the_last_place_waits_for_one() {
        let address = patient(Patience { request: LONG, body: LONG, answer: LONG, connections: 1 });
        let ask = async |stream: &mut TcpStream| {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        };
        let mut first = TcpStream::connect(address).await.unwrap();
        ask(&mut first).await;
        first.read_u8().await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        ask(&mut second).await;
        assert!(timeout(Duration::from_millis(200), second.read_u8()).await.is_err());
        drop(first);
        timeout(LONG, second.read_u8()).await.unwrap().unwrap();
    }
}
