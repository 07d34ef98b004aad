//! What each connection gets, so that nobody slow or greedy keeps others out for long: a place
//! among so many, and a time in which its requests' bodies must be there.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    BoxError, Extension, Router,
    body::{Body, HttpBody},
    extract::{ConnectInfo, Request, State},
    middleware::{AddExtension, Next},
    response::Response,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tower::{Layer, Service};

/// A connection's place, given back when its service is dropped. `None`: the door has closed.
type Place = Arc<Option<OwnedSemaphorePermit>>;
/// What answers the requests of one connection.
type Connection = AddExtension<AddExtension<Router, ConnectInfo<SocketAddr>>, Place>;

/// Makes what answers each connection, as long as there are places; the others wait in the
/// listening socket's queue.
#[derive(Clone)]
pub(super) struct Door {
    router: Router,
    places: Arc<Semaphore>,
}

impl Door {
    pub fn new(router: Router, places: usize) -> Self {
        Self { router, places: Arc::new(Semaphore::new(places)) }
    }
}

impl Service<SocketAddr> for Door {
    type Response = Connection;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Connection, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, peer: SocketAddr) -> Self::Future {
        let service = Extension(ConnectInfo(peer)).layer(self.router.clone());
        let places = self.places.clone();
        async move {
            let place = Arc::new(places.acquire_owned().await.ok());
            Ok(Extension(place).layer(service))
        }
        .boxed()
    }
}

/// Break off a request whose body isn't there after so long.
pub(super) async fn hurry(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let deadline = Instant::now() + limit;
    let request = request.map(|body| {
        Body::from_stream(stream::unfold(body.into_data_stream(), move |mut body| async move {
            match timeout_at(deadline, body.next()).await {
                Ok(chunk) => Some((chunk?.map_err(BoxError::from), body)),
                Err(elapsed) => Some((Err(elapsed.into()), body)),
            }
        }))
    });
    next.run(request).await
}
