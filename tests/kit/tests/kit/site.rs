//! A web site of a test's own: pages over HTTPS on localhost.

use std::net::{SocketAddr, TcpListener};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rollcall_kit::{background::background, tls::Authority};

/// A running site, ended when dropped.
pub struct Site {
    handle: Handle<SocketAddr>,
    base_url: String,
}

impl Site {
    /// Serves `pages` with a certificate of `authority`.
    pub fn start(authority: &Authority, pages: Router) -> anyhow::Result<Self> {
        let tls = authority.issue(&["localhost"], &[])?.server_config()?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let base_url = format!("https://localhost:{}", listener.local_addr()?.port());
        let handle = Handle::new();
        let _runtime = background().enter();
        let server = axum_server::from_tcp_rustls(listener, RustlsConfig::from_config(tls))?;
        background().spawn(server.handle(handle.clone()).serve(pages.into_make_service()));
        Ok(Self { handle, base_url })
    }

    /// The URL of one of its pages.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}
