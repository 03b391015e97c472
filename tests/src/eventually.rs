//! The one way in which tests wait: ask again until the answer is there or the deadline has passed.
//!
//! The pause between two questions is too short to matter; nothing may depend on its length.

use std::fmt::Display;
use std::future::Future;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(5);

/// Asks `probe` until it answers `Ok`, and returns that. After `deadline` the error carries the last refusal, so that a
/// failed test says what was missing. The probe is asked at least once.
pub async fn eventually<T, E, F, P>(deadline: Duration, mut probe: P) -> anyhow::Result<T>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
    P: FnMut() -> F,
{
    let start = Instant::now();
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(refusal) if start.elapsed() >= deadline => {
                anyhow::bail!("still not so after {deadline:?}: {refusal}")
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::eventually;
    use std::time::Duration;

    #[tokio::test]
    async fn the_first_good_answer_is_returned() {
        let mut asked = 0;
        let answer = eventually(Duration::from_mins(1), || {
            asked += 1;
            let answer = if asked == 3 { Ok(asked) } else { Err("not yet") };
            async move { answer }
        });
        assert_eq!(answer.await.expect("the third answer is good"), 3);
    }

    #[tokio::test]
    async fn the_last_refusal_is_in_the_error() {
        let refused = eventually(Duration::ZERO, || async { Err::<(), _>("no table yet") }).await;
        let message = refused.expect_err("the probe always refuses").to_string();
        assert!(message.contains("no table yet"), "{message}");
    }
}
