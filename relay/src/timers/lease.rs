//! Which relay calls a timer now, and when it is due next.
//!
//! When a timer is due is a matter of the database's clock. How long a lease lasts is not: that clock may be set forward or
//! back. A relay takes a timer over from another once it has watched the other's lease for as long as it was taken, by a clock
//! of its own, and saw no renewal ([`Watch`]). The other one counts from before it asked for its lease, so that the two never
//! both believe to have the turn.

use std::time::Duration;

use tokio_postgres::types::Type;

use crate::clock::Moment;
use crate::postgres::{RelayRole, milliseconds};

/// The right to call a timer, as long as it is renewed.
#[derive(Debug)]
pub(super) struct Turn {
    /// When it was due, RFC 3339.
    pub(super) due: String,
    fence: i64,
    /// No other relay gets a turn before this.
    pub(super) safe_until: Moment,
}

/// One timer, and this relay's name in its lease.
#[derive(Clone, Debug)]
pub(super) struct Schedule {
    pub(super) role: RelayRole,
    pub(super) name: String,
    pub(super) holder: String,
    pub(super) every: Duration,
    pub(super) lease: Duration,
}

/// What [`Schedule::claim`] came to.
#[derive(Debug)]
pub(super) enum Claim {
    /// This relay has the turn.
    Taken(Turn),
    /// The timer isn't due, or not free. It may be after this.
    NotYet(Duration),
}

/// The longest `limits.lease_ms` that relay.toml may say.
const MAX_LEASE: Duration = Duration::from_secs(600);

/// A new timer is first due after one period. One that is due later than that was written while the database's clock was ahead:
/// it is due within a period of now.
const MAKE: &str = "
    WITH mended AS (
        UPDATE towpath.timer SET next_due = clock_timestamp() + $2 * interval '1 millisecond'
        WHERE name = $1 AND next_due > clock_timestamp() + $2 * interval '1 millisecond'
    )
    INSERT INTO towpath.timer (name, next_due) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')
    ON CONFLICT (name) DO NOTHING";

/// The last two columns: for how long the lease was taken, and how long it lasts by the database's clock.
const SEE: &str = "
    SELECT (extract(epoch FROM next_due - clock_timestamp()) * 1000)::bigint, fence, expires_at::text, holder IS NULL,
           lease_ms, (extract(epoch FROM greatest(expires_at, '2000-01-01') - clock_timestamp()) * 1000)::bigint
    FROM towpath.timer WHERE name = $1";

/// Only of the lease that was seen: nobody renewed it or took it over meanwhile.
const CLAIM: &str = "
    UPDATE towpath.timer
    SET holder = $2, fence = fence + 1, lease_ms = $3, expires_at = clock_timestamp() + $3 * interval '1 millisecond'
    WHERE name = $1 AND next_due <= clock_timestamp() AND fence = $4 AND expires_at = $5::timestamptz
    RETURNING fence, to_char(next_due AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

const LEFT: &str = "
    SELECT (extract(epoch FROM next_due - clock_timestamp()) * 1000)::bigint FROM towpath.timer WHERE name = $1";

/// No row: nobody has made the timer, though its relay should.
const IS_OVERDUE: &str = "
    SELECT count(*) = 0 FROM towpath.timer
    WHERE name = $1 AND (next_due > clock_timestamp() OR (holder IS NOT NULL AND expires_at > clock_timestamp()))";

const RENEW: &str = "
    UPDATE towpath.timer SET expires_at = clock_timestamp() + $4 * interval '1 millisecond'
    WHERE name = $1 AND holder = $2 AND fence = $3 RETURNING 1";

/// The next time is the first on the schedule that is still to come: missed times are skipped.
const FINISH: &str = "
    UPDATE towpath.timer
    SET holder = NULL, expires_at = '-infinity', next_due = next_due + $4 * interval '1 millisecond'
        * (floor(greatest(0, extract(epoch FROM clock_timestamp() - next_due)) * 1000 / $4) + 1)
    WHERE name = $1 AND holder = $2 AND fence = $3 RETURNING 1";

const RELEASE: &str = "
    UPDATE towpath.timer SET holder = NULL, expires_at = '-infinity'
    WHERE name = $1 AND holder = $2 AND fence = $3 RETURNING 1";

/// A timer as it was seen.
struct Sight {
    due_in: Duration,
    fence: i64,
    expires_at: String,
    is_free: bool,
    lease: Option<Duration>,
    /// By the database's clock.
    lasts: Duration,
}

impl Schedule {
    /// Creates the timer, if it is new; first due after one period. Mends one that was written by a clock that was ahead.
    pub(super) async fn make(&self) -> anyhow::Result<()> {
        let every = milliseconds(self.every);
        self.role.rows(MAKE, &[(&self.name, Type::TEXT), (&every, Type::INT8)]).await?;
        Ok(())
    }

    /// Takes the turn, if the timer is due and no relay has it.
    pub(super) async fn claim(&self, watch: &mut Watch) -> anyhow::Result<Claim> {
        let sight = self.see().await?;
        let free_in = watch.free_in(&sight, self.lease, Moment::now());
        if !free_in.is_zero() || !sight.due_in.is_zero() {
            // A lease is looked at often enough that its renewals are seen.
            return Ok(Claim::NotYet(sight.due_in.max(free_in.min(self.lease / 4))));
        }
        let (asked_at, lease) = (Moment::now(), milliseconds(self.lease));
        let parameters = [
            (&self.name as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
            (&self.holder, Type::TEXT),
            (&lease, Type::INT8),
            (&sight.fence, Type::INT8),
            (&sight.expires_at, Type::TEXT),
        ];
        let rows = self.role.rows(CLAIM, &parameters).await?;
        // Another relay was faster.
        let Some(row) = rows.first() else { return Ok(Claim::NotYet(Duration::ZERO)) };
        Ok(Claim::Taken(Turn { fence: row.try_get(0)?, due: row.try_get(1)?, safe_until: asked_at + self.lease }))
    }

    async fn see(&self) -> anyhow::Result<Sight> {
        let row = self.role.row(SEE, &[(&self.name, Type::TEXT)]).await?;
        let lease_ms: Option<i64> = row.try_get(4)?;
        Ok(Sight {
            due_in: span(row.try_get(0)?),
            fence: row.try_get(1)?,
            expires_at: row.try_get(2)?,
            is_free: row.try_get(3)?,
            lease: lease_ms.map(span),
            lasts: span(row.try_get(5)?),
        })
    }

    /// How long until the timer is due.
    pub(super) async fn left(&self) -> anyhow::Result<Duration> {
        let row = self.role.row(LEFT, &[(&self.name, Type::TEXT)]).await?;
        Ok(span(row.try_get(0)?))
    }

    /// Whether it is due and no relay has the turn, by the database's clock.
    pub(super) async fn is_overdue(&self) -> anyhow::Result<bool> {
        Ok(self.role.row(IS_OVERDUE, &[(&self.name, Type::TEXT)]).await?.try_get(0)?)
    }

    /// Renews the lease. `false`: another relay has the turn.
    pub(super) async fn renew(&self, turn: &mut Turn) -> anyhow::Result<bool> {
        let asked_at = Moment::now();
        let kept = self.change(RENEW, turn, Some(self.lease)).await?;
        if kept {
            turn.safe_until = asked_at + self.lease;
        }
        Ok(kept)
    }

    /// Returns the turn after the call, with the next time. `false`: another relay had the turn.
    pub(super) async fn finish(&self, turn: &Turn) -> anyhow::Result<bool> {
        self.change(FINISH, turn, Some(self.every)).await
    }

    /// Returns the turn without a call: another relay may take it at once.
    pub(super) async fn release(&self, turn: &Turn) -> anyhow::Result<bool> {
        self.change(RELEASE, turn, None).await
    }

    async fn change(&self, sql: &str, turn: &Turn, duration: Option<Duration>) -> anyhow::Result<bool> {
        let duration = duration.map(milliseconds);
        let mut parameters: Vec<(&(dyn tokio_postgres::types::ToSql + Sync), Type)> =
            vec![(&self.name, Type::TEXT), (&self.holder, Type::TEXT), (&turn.fence, Type::INT8)];
        if duration.is_some() {
            parameters.push((&duration, Type::INT8));
        }
        Ok(!self.role.rows(sql, &parameters).await?.is_empty())
    }
}

/// Milliseconds that are still to come; zero where they are over.
fn span(left_ms: i64) -> Duration {
    Duration::from_millis(left_ms.try_into().unwrap_or(0))
}

/// The lease of another relay, as this one watches it. Pure.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The lease that was last seen (its fence, and its end, which moves with each renewal), and when it was seen first.
    seen: Option<(i64, String, Moment)>,
}

impl Watch {
    /// How long until the timer may be free, unless its lease is renewed; zero where it is. `own`: for how long this relay
    /// takes leases.
    fn free_in(&mut self, sight: &Sight, own: Duration, now: Moment) -> Duration {
        if sight.is_free {
            self.seen = None;
            return Duration::ZERO;
        }
        let lease = match sight.lease {
            Some(lease) => lease,
            // A relay of an earlier release took it, and doesn't say for how long.
            None if sight.lasts <= MAX_LEASE => return sight.lasts,
            // The database's clock was ahead then.
            None => own,
        };
        let since = match &self.seen {
            Some((fence, end, since)) if *fence == sight.fence && *end == sight.expires_at => *since,
            _ => {
                self.seen = Some((sight.fence, sight.expires_at.clone(), now));
                now
            }
        };
        lease.saturating_sub(since.until(now))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    fn held(fence: i64, expires_at: &str) -> Sight {
        let (due_in, lasts) = (Duration::ZERO, Duration::from_secs(7200));
        Sight { due_in, fence, expires_at: expires_at.into(), is_free: false, lease: Some(LEASE), lasts }
    }

    #[test]
    fn a_lease_is_over_once_it_was_watched_for_as_long_as_it_was_taken_whatever_the_databases_clock_says() {
        let mut watch = Watch::default();
        let began = Moment::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(watch.free_in(&held(1, "later"), LEASE, at(0)), LEASE);
        assert_eq!(watch.free_in(&held(1, "later"), LEASE, at(9)), Duration::from_secs(1));
        assert_eq!(watch.free_in(&held(1, "still later"), LEASE, at(9)), LEASE, "it was renewed");
        assert_eq!(watch.free_in(&held(1, "still later"), LEASE, at(19)), Duration::ZERO);
        assert_eq!(watch.free_in(&held(2, "still later"), LEASE, at(19)), LEASE, "another relay was faster");
        assert_eq!(watch.free_in(&Sight { is_free: true, ..held(2, "-infinity") }, LEASE, at(19)), Duration::ZERO);
        assert_eq!(watch.free_in(&held(2, "still later"), LEASE, at(29)), LEASE, "it was free in between");
        let old = Sight { lease: None, lasts: Duration::from_secs(3), ..held(3, "soon") };
        assert_eq!(watch.free_in(&old, LEASE, at(29)), Duration::from_secs(3), "a relay that doesn't say how long");
        let ahead = Sight { lease: None, ..held(4, "hours ahead") };
        assert_eq!(watch.free_in(&ahead, LEASE, at(30)), LEASE, "no lease lasts for two hours");
        assert_eq!(watch.free_in(&ahead, LEASE, at(40)), Duration::ZERO);
    }

    #[test]
    fn the_longest_lease_is_the_longest_that_relay_toml_may_say() {
        let lease = crate::config::Limits::ALL.iter().find(|(name, ..)| *name == "lease_ms");
        assert_eq!(lease.map(|(_, _, _, most, _)| u128::from(*most)), Some(MAX_LEASE.as_millis()));
    }

    proptest! {
        /// Whenever the holder renews and the watcher looks: while the holder may believe to have the turn, the watcher doesn't
        /// find it free.
        #[test]
        fn the_watcher_takes_nothing_that_its_holder_believes_to_hold(
            steps in proptest::collection::vec((1u64..6_000, any::<bool>()), 1..100),
        ) {
            let (mut watch, mut now, mut renewals) = (Watch::default(), Moment::now(), 0_u32);
            let mut safe_until = now + LEASE;
            for (ms, renews) in steps {
                now = now + Duration::from_millis(ms);
                if renews && now < safe_until {
                    renewals += 1;
                    safe_until = now + LEASE;
                } else if watch.free_in(&held(1, &renewals.to_string()), LEASE, now).is_zero() {
                    prop_assert!(now >= safe_until);
                }
            }
        }
    }
}
