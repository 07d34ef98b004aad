//! The runtime on which the kit's own servers live. A `#[tokio::test]` has a runtime of its own that
//! ends with it; a server that several tests share must not end with the first of them.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};

/// The handle of the runtime that lasts as long as the process does.
pub fn background() -> &'static Handle {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("kit")
                .enable_all()
                .build()
                // The kernel refuses threads or descriptors: no test can go on from there.
                .expect("the kit's runtime starts")
        })
        .handle()
}
