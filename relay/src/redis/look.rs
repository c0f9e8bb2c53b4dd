//! The watchdogs' looks at what the relay does with Redis: does a call get through, does it hear what it says to itself, is
//! sent and invalidated what waits for it?
//!
//! While Redis itself is away nothing of this relay is to blame.

use super::{Cache, Redis, Wakeups};
use crate::watchdog::parts::Grows;
use crate::watchdog::{Look, Seen, Since};

/// Looks at the connection.
pub(crate) struct ConnectionEye {
    redis: Redis,
    cut_off: Since,
}

impl ConnectionEye {
    pub(crate) fn new(redis: &Redis) -> Self {
        Self { redis: redis.clone(), cut_off: Since::default() }
    }
}

impl Look for ConnectionEye {
    async fn look(&mut self) -> Seen {
        if self.redis.is_up() && self.redis.gets_through().await {
            self.cut_off.note(false);
            return Seen::Moves;
        }
        let cut_off = self.redis.answers().await;
        let Some(since) = self.cut_off.note(cut_off) else { return Seen::Waits };
        Seen::Stands { since, cause: "no call gets through, while Redis answers another connection".to_owned() }
    }
}

/// Looks whether wake-ups are heard.
pub(crate) struct HearingEye {
    redis: Redis,
    wakeups: Wakeups,
    /// What it had heard when it last said something.
    said_after: Option<u64>,
    deaf: Since,
}

impl HearingEye {
    pub(crate) fn new(redis: &Redis, wakeups: &Wakeups) -> Self {
        Self { redis: redis.clone(), wakeups: wakeups.clone(), said_after: None, deaf: Since::default() }
    }
}

impl Look for HearingEye {
    async fn look(&mut self) -> Seen {
        let heard = self.wakeups.echoes();
        let deaf = self.said_after.replace(heard) == Some(heard);
        if !self.redis.is_up() || self.wakeups.echo(&self.redis).await.is_err() {
            (self.said_after, self.deaf) = (None, Since::default());
            return Seen::Waits;
        }
        let Some(since) = self.deaf.note(deaf) else { return Seen::Moves };
        Seen::Stands { since, cause: "it doesn't hear what it says to itself through Redis".to_owned() }
    }
}

/// Looks whether wake-ups are sent.
pub(crate) fn at_sending(redis: &Redis, wakeups: &Wakeups) -> impl Look + use<> {
    let (redis, wakeups) = (redis.clone(), wakeups.clone());
    Grows::new("wake-ups wait, and none is sent", move || wakeups.sent_while_some_wait().filter(|_| redis.is_up()))
}

/// Looks whether tags are invalidated whose turn is late.
pub(crate) fn at_invalidating(redis: &Redis, cache: &Cache) -> impl Look + use<> {
    let (redis, cache) = (redis.clone(), cache.clone());
    Grows::new("tags wait to be invalidated, and none is", move || {
        cache.invalidated_while_some_is_late().filter(|_| redis.is_up())
    })
}
