//! Permissions end at their time: apart from the passes over teams, which may be many and busy, or
//! stall. Nobody's many endings keep another's waiting.

use std::{collections::HashMap, time::Duration};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    Context, Error, Result,
    bindings::{Place, Standing},
    chain, role_bindings,
};

/// How often it is looked whether a binding is over.
const EVERY: Duration = Duration::from_millis(500);
/// How many bindings of an organization end in one turn: then the others are looked at again.
const OF_EACH: usize = 16;
/// How many are deleted at once.
const AT_ONCE: usize = 16;
/// How long one deletion may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How soon one is tried again that still seems to stand.
const AGAIN: Duration = Duration::from_secs(1);

/// End what is over, until `stop`.
pub async fn run(ctx: &Context, stop: CancellationToken) {
    let work = async {
        ctx.bindings.ready().await;
        let mut tried = HashMap::new();
        loop {
            if !turn(ctx, &mut tried).await {
                tokio::time::sleep(EVERY).await;
            }
        }
    };
    stop.run_until_cancelled(work).await;
}

/// End some of what is over; whether there was any.
async fn turn(ctx: &Context, tried: &mut HashMap<Place, Instant>) -> bool {
    tried.retain(|_, at: &mut Instant| at.elapsed() < AGAIN);
    let over = ctx.bindings.over(Timestamp::now(), OF_EACH, |place| !tried.contains_key(place));
    let any = !over.is_empty();
    let mut ended = stream::iter(over)
        .map(async |binding| (end(ctx, &binding).await, binding.place))
        .buffer_unordered(AT_ONCE);
    let mut failed = vec![];
    while let Some((result, place)) = ended.next().await {
        failed.extend(result.err().map(|error| (error, place.clone())));
        tried.insert(place, Instant::now());
    }
    // once for all: they may be many, and are tried again soon
    if let Some((error, place)) = failed.first() {
        let (error, failed) = (chain(error), failed.len());
        warn!(%error, ?place, failed, "bindings whose time is over were not deleted");
    }
    any
}

async fn end(ctx: &Context, binding: &Standing) -> Result<()> {
    let deleted = role_bindings::request_deletion(ctx, &binding.place, binding.seen());
    tokio::time::timeout(DEADLINE, deleted).await.map_err(|_| Error::Deadline)?
}
