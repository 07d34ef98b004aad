//! For tests: what a crash would leave. A test is told of each point between two statements that a
//! write passes, and may then look at the files as a crash would leave them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

type Watch = Box<dyn FnMut(&'static str) + Send>;

static WATCHED: Mutex<Vec<(Uuid, Watch)>> = Mutex::new(Vec::new());

/// Call `watch` at each point that a write on `subject` passes from now on.
pub(crate) fn watch(subject: Uuid, watch: impl FnMut(&'static str) + Send + 'static) {
    watched().push((subject, Box::new(watch)));
}

/// A write on `subject` is at this point.
pub(crate) fn point(subject: Uuid, name: &'static str) {
    for (watched, watch) in watched().iter_mut() {
        if *watched == subject {
            watch(name);
        }
    }
}

/// Also after a watch has panicked, as one does that breaks a write off.
fn watched() -> MutexGuard<'static, Vec<(Uuid, Watch)>> {
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner)
}
