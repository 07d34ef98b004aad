//! For tests: a crash at a named point. A release build has none.

/// End the process as a loss of power would, where `ROLLCALL_CRASH_AT` names this point.
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("ROLLCALL_CRASH_AT").is_some_and(|at| at == *name) {
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}
