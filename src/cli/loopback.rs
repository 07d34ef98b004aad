//! The sign-in's way back: a server on the loopback interface that takes one answer (RFC 8252,
//! section 7.3), and leaves the browser on a page that says how it ended.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::{
    Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// For the browser to have its last answer.
const FAREWELL: Duration = Duration::from_secs(2);

type Parameters = HashMap<String, String>;

/// A listening server.
pub struct Loopback {
    /// The address to come back to.
    pub redirect_uri: String,
    answers: mpsc::Receiver<Answer>,
    stop: CancellationToken,
    server: JoinHandle<io::Result<()>>,
}

/// What a browser came back with. It waits to hear how it ended.
pub struct Answer {
    parameters: Parameters,
    page: oneshot::Sender<Page>,
}

/// Where the browser is left.
pub enum Page {
    /// At this address.
    Elsewhere(String),
    /// On a page with these words.
    Here(String),
}

impl Loopback {
    /// Takes a free port of 127.0.0.1.
    ///
    /// # Errors
    /// There is none.
    pub async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let redirect_uri = format!("http://127.0.0.1:{}/callback", listener.local_addr()?.port());
        let (sender, answers) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let routes = Router::new().route("/callback", get(callback)).with_state(sender);
        let server =
            axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self { redirect_uri, answers, stop, server: tokio::spawn(server.into_future()) })
    }

    /// The next answer that carries this `state`. Any other is turned away and changes nothing: not
    /// everybody who can reach this port is our browser.
    pub async fn answer(&mut self, state: &str) -> Option<Answer> {
        loop {
            let answer = self.answers.recv().await?;
            if answer.parameter("state") == Some(state) {
                return Some(answer);
            }
            let words = "This isn't the sign-in that is awaited here. Close this page.";
            answer.leave_at(Page::Here(words.into()));
        }
    }

    /// Ends it once the browser has its page.
    pub async fn end(self) {
        self.stop.cancel();
        drop(self.answers); // whoever comes again hears that nobody waits
        let abort = self.server.abort_handle();
        // a browser may keep a connection that it never uses
        if tokio::time::timeout(FAREWELL, self.server).await.is_err() {
            abort.abort();
        }
    }
}

impl Answer {
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    pub fn leave_at(self, page: Page) {
        // a browser that is gone needs no page
        let _ = self.page.send(page);
    }
}

async fn callback(
    State(answers): State<mpsc::Sender<Answer>>,
    Query(parameters): Query<Parameters>,
) -> Response {
    let (sender, page) = oneshot::channel();
    let page = match answers.send(Answer { parameters, page: sender }).await {
        Ok(()) => page.await.ok(),
        Err(_) => None,
    };
    let page = page.unwrap_or_else(|| Page::Here("Nobody waits for this sign-in any more.".into()));
    // the address has the code in it: it is to stay between us
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONNECTION, "close"),
    ];
    match page {
        Page::Elsewhere(url) => {
            (StatusCode::SEE_OTHER, headers, [(header::LOCATION, url)]).into_response()
        }
        Page::Here(words) => (StatusCode::BAD_REQUEST, headers, words).into_response(),
    }
}
