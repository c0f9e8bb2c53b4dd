//! Which relay calls a timer now, and when it is due next. Time is the database's.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::Type;

use crate::postgres::{RelayRole, milliseconds};

/// The right to call a timer, as long as it is renewed.
#[derive(Debug)]
pub(super) struct Turn {
    /// When it was due, RFC 3339.
    pub(super) due: String,
    fence: i64,
    /// No other relay gets a turn before this, by this process's clock.
    pub(super) safe_until: Instant,
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

/// A new timer is first due after one period. One that is due later than that, or is leased for longer than
/// the longest lease that relay.toml allows, was written while the database's clock was ahead: it is due within a period of now,
/// and free within a lease.
const MAKE: &str = "
    WITH mended AS (
        UPDATE towpath.timer SET
            next_due = least(next_due, clock_timestamp() + $2 * interval '1 millisecond'),
            expires_at = CASE WHEN expires_at > clock_timestamp() + interval '10 minutes'
                THEN clock_timestamp() + $3 * interval '1 millisecond' ELSE expires_at END
        WHERE name = $1 AND (next_due > clock_timestamp() + $2 * interval '1 millisecond'
            OR expires_at > clock_timestamp() + interval '10 minutes')
    )
    INSERT INTO towpath.timer (name, next_due) VALUES ($1, clock_timestamp() + $2 * interval '1 millisecond')
    ON CONFLICT (name) DO NOTHING";

const CLAIM: &str = "
    UPDATE towpath.timer
    SET holder = $2, fence = fence + 1, expires_at = clock_timestamp() + $3 * interval '1 millisecond'
    WHERE name = $1 AND next_due <= clock_timestamp() AND expires_at <= clock_timestamp()
    RETURNING fence, to_char(next_due AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')";

const LEFT: &str = "
    SELECT (extract(epoch FROM greatest(next_due, expires_at) - clock_timestamp()) * 1000)::bigint
    FROM towpath.timer WHERE name = $1";

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

impl Schedule {
    /// Creates the timer, if it is new; first due after one period. Mends one that was written by a clock that was ahead.
    pub(super) async fn make(&self) -> anyhow::Result<()> {
        let (every, lease) = (milliseconds(self.every), milliseconds(self.lease));
        self.role.rows(MAKE, &[(&self.name, Type::TEXT), (&every, Type::INT8), (&lease, Type::INT8)]).await?;
        Ok(())
    }

    /// Takes the turn, if the timer is due and no relay has it.
    pub(super) async fn claim(&self) -> anyhow::Result<Option<Turn>> {
        let (asked_at, lease) = (Instant::now(), milliseconds(self.lease));
        let parameters = [
            (&self.name as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
            (&self.holder, Type::TEXT),
            (&lease, Type::INT8),
        ];
        let rows = self.role.rows(CLAIM, &parameters).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(Turn { fence: row.try_get(0)?, due: row.try_get(1)?, safe_until: asked_at + self.lease }))
    }

    /// How long until the timer may be due, or free.
    pub(super) async fn left(&self) -> anyhow::Result<Duration> {
        let row = self.role.row(LEFT, &[(&self.name, Type::TEXT)]).await?;
        Ok(Duration::from_millis(row.try_get::<_, i64>(0)?.try_into().unwrap_or(0)))
    }

    /// Renews the lease. `false`: another relay has the turn.
    pub(super) async fn renew(&self, turn: &mut Turn) -> anyhow::Result<bool> {
        let asked_at = Instant::now();
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
