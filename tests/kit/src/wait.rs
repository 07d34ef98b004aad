//! Waiting for a condition. This is the only place of the tests where anything pauses.

use std::time::{Duration, Instant};

use anyhow::bail;

const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(200);

/// Asks `probe` again and again until it gives a value, and returns that.
///
/// `Ok(None)` means "not yet", and so does an error, which is kept: it is the last state seen, so a
/// probe that says as an error what it saw makes the failure readable.
///
/// # Errors
/// After `timeout`, one that names `what` was awaited and the last state seen.
pub async fn until<T>(
    what: &str,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let mut pause = SHORTEST;
    let mut seen = "nothing yet".to_owned();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => seen = format!("{error:#}"),
            Err(_) => seen = format!("{seen} (and the last look didn't return)"),
        }
        if start.elapsed() >= timeout {
            bail!("waited {timeout:?} for {what}; last seen: {seen}");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_value_is_returned_once_it_is_there() -> anyhow::Result<()> {
        let mut looks = 0;
        let got = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        })
        .await?;
        assert_eq!(got, 3);
        Ok(())
    }

    #[tokio::test]
    async fn a_failure_tells_what_was_awaited_and_what_was_seen() {
        let error =
            until("a bus", Duration::from_millis(20), async || -> anyhow::Result<Option<()>> {
                bail!("only a bicycle")
            })
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("a bus") && error.contains("only a bicycle"), "{error}");
    }
}
