//! The closed loop: each of N clients sends its next request when the last was answered.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;

use super::latency::Latency;

/// How many turns those take that are compared.
pub(super) const TURNS: u32 = 2;

/// How much load, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Clients at once.
    pub(super) clients: usize,
    /// Measured time.
    pub(super) time: Duration,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Measured {
    /// How long each call took that ended in the measured time.
    taken: Vec<Duration>,
    /// The measured time.
    time: Duration,
}

impl Measured {
    /// Calls per second.
    pub(super) fn per_second(&self) -> f64 {
        self.taken.len() as f64 / self.time.as_secs_f64()
    }

    /// How long they took.
    pub(super) fn latency(&self) -> Latency {
        Latency::of(self.taken.clone())
    }

    /// Both runs as one.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.taken.extend(other.taken);
        Self { taken: self.taken, time: self.time + other.time }
    }
}

/// One client of a closed loop.
pub(super) trait Client: Send + 'static {
    /// Does one call; what makes it pointless to go on is an error.
    fn call(&mut self) -> impl Future<Output = Result<()>> + Send;
}

impl Load {
    /// Runs the clients for a moment to warm up, then for the measured time. A call counts where it ends.
    pub(super) async fn run<C: Client>(self, clients: Vec<C>) -> Result<Measured> {
        let warm = Instant::now() + (self.time / 4).min(Duration::from_secs(2));
        let end = warm + self.time;
        let tasks = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                let mut taken = Vec::new();
                loop {
                    let begun = Instant::now();
                    client.call().await?;
                    let now = Instant::now();
                    if now >= end {
                        return anyhow::Ok(taken);
                    }
                    if now >= warm {
                        taken.push(now - begun);
                    }
                }
            })
        });
        let mut taken = Vec::new();
        for task in try_join_all(tasks).await? {
            taken.extend(task?);
        }
        Ok(Measured { taken, time: self.time })
    }

    /// A part of it: what is compared takes turns, so that a moment in which the machine was busy hits both.
    pub(super) fn turn(self) -> Self {
        Self { time: (self.time / TURNS).max(Duration::from_secs(1)), ..self }
    }
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
    async fn clients_that_take_a_hundredth_of_a_second_make_a_hundred_calls_each() {
        let load = Load { clients: 4, time: Duration::from_millis(400) };
        let measured = load.run(vec![Steady, Steady, Steady, Steady]).await.unwrap();
        assert!((100.0..=404.0).contains(&measured.per_second()), "{measured:?}");
        assert!(measured.latency().p50_ms >= 10.0, "{measured:?}");
    }

    #[tokio::test]
    async fn a_client_that_fails_ends_the_run() {
        let load = Load { clients: 1, time: Duration::from_secs(600) };
        assert!(load.run(vec![Failing]).await.is_err());
    }
}
