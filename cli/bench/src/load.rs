//! Load from clients that each have one request under way: as fast as the answers come, or at a fixed rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use rand::RngExt;

use super::latency::Times;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Measured {
    /// How long each call took that ended in the measured time.
    pub(super) times: Times,
    /// The measured time.
    time: Duration,
}

impl Measured {
    /// Calls.
    pub(super) fn calls(&self) -> f64 {
        self.times.count() as f64
    }

    /// Calls per second.
    pub(super) fn per_second(&self) -> f64 {
        self.calls() / self.time.as_secs_f64()
    }
}

/// One client.
pub(super) trait Client: Send + 'static {
    /// Does one call; what makes it pointless to go on is an error.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// The closed loop: each client sends its next request when the last was answered. A call counts where it ends within the
/// time.
pub(super) async fn closed<C: Client>(time: Duration, clients: Vec<C>) -> Result<(Measured, Vec<C>)> {
    let end = Instant::now() + time;
    let tasks = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            let mut times = Times::default();
            loop {
                let begun = Instant::now();
                client.call().await?;
                let now = Instant::now();
                if now >= end {
                    return anyhow::Ok((times, client));
                }
                times.add(now - begun);
            }
        })
    });
    collect(time, try_join_all(tasks).await?)
}

/// The open loop: calls are due at random moments, so many a second on average, whether or not earlier ones were answered.
///
/// The time of a call counts from the moment at which it was due, also where every client was busy then: what waits because
/// others are slow is slow (coordinated omission).
pub(super) async fn open<C: Client>(rate: f64, time: Duration, clients: Vec<C>) -> Result<(Measured, Vec<C>)> {
    let (due, next) = (Arc::new(moments(rate, time)), Arc::new(AtomicUsize::new(0)));
    let begun = Instant::now();
    let tasks = clients.into_iter().map(|mut client| {
        let (due, next) = (due.clone(), next.clone());
        tokio::spawn(async move {
            let mut times = Times::default();
            while let Some(due) = due.get(next.fetch_add(1, Ordering::Relaxed)).map(|due| begun + *due) {
                tokio::time::sleep_until(due.into()).await;
                client.call().await?;
                times.add(due.elapsed());
            }
            anyhow::Ok((times, client))
        })
    });
    collect(time, try_join_all(tasks).await?)
}

/// When calls of strangers are due: the time between two is exponentially distributed.
fn moments(rate: f64, time: Duration) -> Vec<Duration> {
    let (mut due, mut moments) = (Duration::ZERO, Vec::new());
    loop {
        let random: f64 = rand::rng().random_range(f64::EPSILON..1.0);
        due += Duration::from_secs_f64(-random.ln() / rate);
        if due >= time {
            return moments;
        }
        moments.push(due);
    }
}

fn collect<C>(time: Duration, ended: Vec<Result<(Times, C)>>) -> Result<(Measured, Vec<C>)> {
    let (mut measured, mut clients) = (Measured { time, ..Measured::default() }, Vec::new());
    for ended in ended {
        let (times, client) = ended?;
        measured.times.join(&times);
        clients.push(client);
    }
    Ok((measured, clients))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Steady;

    impl Client for Steady {
        async fn call(&mut self) -> Result<()> {
            tokio::time::sleep(Duration::from_millis(10)).await;
            Ok(())
        }
    }

    struct Failing;

    impl Client for Failing {
        async fn call(&mut self) -> Result<()> {
            anyhow::bail!("no")
        }
    }

    #[tokio::test]
    async fn a_closed_loop_makes_no_more_calls_than_its_clients_can() {
        let (measured, clients) = closed(Duration::from_millis(400), vec![Steady, Steady]).await.unwrap();
        assert!((1.0..=80.0).contains(&measured.calls()), "{measured:?}");
        assert!(measured.times.latency().p50_ms >= 9.9, "{measured:?}");
        assert_eq!(clients.len(), 2);
    }

    #[tokio::test]
    async fn an_open_loop_counts_from_the_moment_at_which_a_call_was_due() {
        // One client that takes 10 ms for a call can't make 1,000 a second: each waits for all that were due before it.
        let (measured, _) = open(1_000.0, Duration::from_millis(50), vec![Steady]).await.unwrap();
        let waited_for_others = (measured.calls() - 1.0) * 10.0 - 50.0;
        assert!(measured.times.latency().max_ms >= waited_for_others, "{measured:?}");
        assert!(waited_for_others > 50.0, "{measured:?}");
    }

    #[test]
    fn calls_are_due_as_often_as_asked_for() {
        let moments = moments(1_000.0, Duration::from_secs(4));
        assert!((3_500..=4_500).contains(&moments.len()) && moments.is_sorted(), "{}", moments.len());
    }

    #[tokio::test]
    async fn a_client_that_fails_ends_the_run() {
        assert!(closed(Duration::from_secs(600), vec![Failing]).await.is_err());
        assert!(open(1_000.0, Duration::from_secs(600), vec![Failing]).await.is_err());
    }
}
