//! Parts that serve all services: each is a task that is replaced where it panics, or stands still.

use std::time::Instant;

use tokio_util::task::AbortOnDropHandle;

use super::{Look, Seen, Watchdog};
use crate::panics::{self, AGAIN};

/// Runs a part to its end. A task of its own, so that its watchdog sees it whatever it does with its thread.
pub(crate) async fn watched<F>(mut watchdog: Watchdog, mut look: impl Look, make: impl Fn() -> F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let mut failures = AGAIN.failures();
    loop {
        let mut part = AbortOnDropHandle::new(tokio::spawn(make()));
        tokio::select! {
            ended = &mut part => match ended {
                Ok(output) => return output,
                Err(error) => watchdog.failed(&panics::of(error)),
            },
            () = watchdog.until_stuck(&mut look) => {}
        }
        drop(part);
        tokio::time::sleep(failures.next()).await;
    }
}

/// Looks at a number that grows while a part moves.
pub(crate) struct Grows<F> {
    cause: &'static str,
    number: F,
    last: Option<(u64, Instant)>,
}

impl<F: FnMut() -> Option<u64> + Send> Grows<F> {
    /// `number`: `None` while the part has nothing to do. `cause`: what is so while it doesn't grow.
    pub(crate) fn new(cause: &'static str, number: F) -> Self {
        Self { cause, number, last: None }
    }
}

impl<F: FnMut() -> Option<u64> + Send> Look for Grows<F> {
    async fn look(&mut self) -> Seen {
        let before = self.last.take();
        let Some(now) = (self.number)() else { return Seen::Moves };
        match before {
            Some((number, since)) if number == now => {
                self.last = before;
                Seen::Stands { since, cause: self.cause.to_owned() }
            }
            _ => {
                self.last = Some((now, Instant::now()));
                Seen::Moves
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::standstill::Standstills;
    use crate::turns::Turns;

    #[tokio::test]
    async fn a_number_that_stays_is_a_standstill_while_there_is_something_to_do() {
        let number = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&number);
        let mut look = Grows::new("it stays", move || Some(seen.load(Ordering::Relaxed)).filter(|number| *number < 2));
        assert_eq!(look.look().await, Seen::Moves);
        let Seen::Stands { since, cause } = look.look().await else { panic!("it stays") };
        assert_eq!(cause, "it stays");
        assert!(matches!(look.look().await, Seen::Stands { since: still, .. } if still == since));
        number.store(1, Ordering::Relaxed);
        assert_eq!(look.look().await, Seen::Moves);
        number.store(2, Ordering::Relaxed);
        assert_eq!((look.look().await, look.look().await), (Seen::Moves, Seen::Moves), "it has nothing to do");
    }

    #[tokio::test]
    async fn a_part_that_hangs_or_panics_is_replaced_and_one_that_ends_is_not() {
        let (begun, standstills) = (Arc::new(AtomicUsize::new(0)), Arc::new(Standstills::default()));
        let watchdog = Watchdog::of_all(&standstills, "test", Duration::from_millis(1));
        let (turns, look) = (Turns::default(), Turns::default());
        let counted = Arc::clone(&begun);
        let make = move || {
            let (time, turns) = (counted.fetch_add(1, Ordering::Relaxed), turns.clone());
            async move {
                turns.turn();
                match time {
                    0 => std::future::pending().await,
                    1 => panic!("a word"),
                    time => time,
                }
            }
        };
        assert_eq!(watched(watchdog, Grows::new("it stays", move || Some(look.count())), make).await, 2);
        let told = &standstills.all()["test"];
        assert_eq!((told.cause.as_str(), told.replaced), ("it panicked: a word", 2));
    }
}
