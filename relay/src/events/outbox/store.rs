//! The outbox in PostgreSQL: the events that wait, and who publishes them. Time is the database's.

pub(super) mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::low_water::InFlight;
use super::shares::Lease;
use crate::events::cloudevents::kafka::Attributes;
use crate::postgres::{RelayRole, milliseconds};
use crate::telemetry::TraceContext;

/// The shards that a publisher holds, each with its fence.
pub(super) type Held = BTreeMap<i16, i64>;

/// An event that waits to be published.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) shard: i16,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) data: String,
    /// How long ago it was committed, by the database's clock.
    pub(super) age: Duration,
    id: String,
    kind: String,
    source: String,
    subject: Option<String>,
    time: String,
    pub(super) trace: Option<TraceContext>,
    /// Where its key is held: how often in a row Kafka refused the key's first event.
    pub(super) refused: Option<i32>,
}

impl Waiting {
    /// Its topic and key: the order of these is kept.
    pub(super) fn place(&self) -> (String, String) {
        (self.topic.clone(), self.key.clone())
    }

    #[cfg(test)]
    pub(super) fn for_tests(seq: i64, topic: &str, key: &str) -> Self {
        Self {
            seq,
            shard: 0,
            topic: topic.into(),
            key: key.into(),
            data: "{}".into(),
            age: Duration::ZERO,
            id: seq.to_string(),
            kind: "t".into(),
            source: "/s".into(),
            subject: None,
            time: String::new(),
            trace: None,
            refused: None,
        }
    }

    pub(super) fn attributes(&self) -> Attributes<'_> {
        Attributes {
            id: &self.id,
            source: &self.source,
            kind: &self.kind,
            subject: self.subject.as_deref(),
            time: &self.time,
            trace: self.trace.as_ref(),
        }
    }

    fn read(row: &Row) -> Result<Self, tokio_postgres::Error> {
        let parent: Option<&str> = row.try_get(9)?;
        let state: Option<&str> = row.try_get(10)?;
        let age_ms: i64 = row.try_get(12)?;
        Ok(Self {
            seq: row.try_get(0)?,
            shard: row.try_get(1)?,
            topic: row.try_get(2)?,
            key: row.try_get(3)?,
            id: row.try_get(4)?,
            kind: row.try_get(5)?,
            source: row.try_get(6)?,
            subject: row.try_get(7)?,
            time: row.try_get(8)?,
            trace: parent.and_then(|parent| TraceContext::new(parent, state)),
            data: row.try_get(11)?,
            age: Duration::from_millis(age_ms.try_into().unwrap_or(0)),
            refused: row.try_get(13)?,
        })
    }
}

/// What the database says of publishers and shards.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) leases: Vec<Lease>,
    /// Others that renewed in time.
    pub(super) living: BTreeSet<String>,
    /// Others that didn't.
    pub(super) expired: BTreeSet<String>,
    /// Until the next of the living expires, unless it renews.
    pub(super) next_expiry: Option<Duration>,
    /// Whether whoever looks has renewed in time itself.
    pub(super) alive: bool,
    /// The database's clock, in milliseconds since 1970.
    pub(super) clock_ms: i64,
}

impl View {
    fn publisher(&mut self, me: &str, id: String, left_ms: i64) {
        if id == me {
            self.alive = left_ms > 0;
            return;
        }
        match u64::try_from(left_ms) {
            Ok(left_ms) if left_ms > 0 => {
                let left = Duration::from_millis(left_ms);
                self.next_expiry = Some(self.next_expiry.map_or(left, |next| next.min(left)));
                self.living.insert(id);
            }
            _ => drop(self.expired.insert(id)),
        }
    }

    pub(super) fn held_by(&self, id: &str) -> Held {
        let held = self.leases.iter().filter(|lease| lease.holder.as_deref() == Some(id));
        held.map(|lease| (lease.shard, lease.fence)).collect()
    }
}

/// The columns of [`Waiting`], from a row that is called `o`; what follows is `refused`.
macro_rules! waiting {
    () => {
        "o.seq, o.shard, o.topic, o.key, o.id, o.type, o.source, o.subject,
         to_char(o.time AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), o.traceparent, o.tracestate, o.data,
         greatest(0, extract(epoch FROM clock_timestamp() - o.created_at) * 1000)::bigint"
    };
}
use waiting;

/// Each shard is read by its index, from its mark (`low_water.rs`) up to a limit, so that a long outbox costs a batch little
/// more than a short one, and what was published costs it nothing. (BETWEEN and the order by shard leave PostgreSQL no other
/// index to choose: the one on `seq` would lead through everything that was published.) The last condition ends a batch
/// once its data reaches the bytes: a batch exceeds them by at most its last event.
pub const READ: &str = concat!(
    "SELECT ",
    waiting!(),
    ", (SELECT k.refused FROM towpath.held_key AS k WHERE k.topic = o.topic AND k.key = o.key)
    FROM (
        SELECT first.seq, sum(first.bytes) OVER (ORDER BY first.seq) - first.bytes AS bytes_before
        FROM unnest($1::smallint[], $5::bigint[]) AS held (shard, mark)
        CROSS JOIN LATERAL (
            SELECT w.seq, octet_length(w.data) AS bytes FROM towpath.outbox AS w
            WHERE w.shard BETWEEN held.shard AND held.shard AND w.seq > held.mark AND w.published_at IS NULL
            ORDER BY w.shard, w.seq LIMIT $4
        ) AS first
        ORDER BY first.seq LIMIT $2
    ) AS batch
    JOIN towpath.outbox AS o ON o.seq = batch.seq
    WHERE batch.bytes_before < $3 ORDER BY o.seq"
);

const IN_FLIGHT: &str = "SELECT last, server, writers FROM towpath.outbox_in_flight()";

const MARKS: &str = "SELECT shard, published_to FROM towpath.shard_lease WHERE shard = ANY ($1)";

/// A mark may go back, where the numbers of the database did.
const KEEP_MARKS: &str = "
    WITH mine AS (
        SELECT l.shard, m.mark FROM towpath.shard_lease AS l
        JOIN unnest($2::smallint[], $3::bigint[]) AS m (shard, mark) ON m.shard = l.shard
        WHERE l.holder = $1 AND l.published_to <> m.mark ORDER BY l.shard FOR UPDATE OF l
    )
    UPDATE towpath.shard_lease AS l SET published_to = mine.mark FROM mine WHERE l.shard = mine.shard AND l.holder = $1";

const SETTLE: &str = "
    SELECT coalesce(sum(towpath.outbox_settle(held.shard, $1, held.fence, held.seqs)), 0)::bigint
    FROM (
        SELECT h.shard, h.fence, array_agg(b.seq) AS seqs
        FROM unnest($2::smallint[], $3::bigint[]) AS h (shard, fence)
        JOIN unnest($4::smallint[], $5::bigint[]) AS b (shard, seq) ON b.shard = h.shard
        GROUP BY h.shard, h.fence ORDER BY h.shard
    ) AS held";

const REGISTER: &str = "
    INSERT INTO towpath.publisher (id, instance, expires_at, lease_ms)
    VALUES ($1, $2, clock_timestamp() + $3 * interval '1 millisecond', $3)";

const RENEW: &str = "
    WITH me AS (
        UPDATE towpath.publisher SET expires_at = clock_timestamp() + $2 * interval '1 millisecond'
        WHERE id = $1 RETURNING id, expires_at
    ), mine AS (
        SELECT l.shard FROM towpath.shard_lease AS l, me WHERE l.holder = me.id ORDER BY l.shard FOR UPDATE OF l
    ), held AS (
        UPDATE towpath.shard_lease AS l SET expires_at = me.expires_at FROM me, mine WHERE l.shard = mine.shard
    )
    SELECT count(*) FROM me";

/// Leases that end later than they were taken for were written while the database's clock was ahead: a dead publisher would seem
/// to live for as long. One of an earlier release doesn't say for how long; the longest that relay.toml may say is ten minutes.
const CUT: &str = "
    UPDATE towpath.publisher SET expires_at = clock_timestamp() + coalesce(lease_ms, 600000) * interval '1 millisecond'
    WHERE expires_at > clock_timestamp() + coalesce(lease_ms, 600000) * interval '1 millisecond'";

/// One snapshot of both tables: a holder that isn't among the publishers is one that was forgotten.
const LOOK: &str = "
    SELECT id, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint, NULL::smallint, NULL::bigint,
           (extract(epoch FROM clock_timestamp()) * 1000)::bigint
    FROM towpath.publisher
    UNION ALL
    SELECT holder, NULL, shard, fence, (extract(epoch FROM clock_timestamp()) * 1000)::bigint FROM towpath.shard_lease";

/// The oldest is among the first of each shard.
const BACKLOG: &str = "
    SELECT (
        SELECT count(*) FROM (
            SELECT FROM towpath.shard_lease AS lease CROSS JOIN LATERAL (
                SELECT FROM towpath.outbox AS w
                WHERE w.shard BETWEEN lease.shard AND lease.shard AND w.seq > lease.published_to
                    AND w.published_at IS NULL
                ORDER BY w.shard, w.seq LIMIT 10000
            ) AS waits LIMIT 10000
        ) AS waiting
    ), coalesce((
        SELECT extract(epoch FROM clock_timestamp() - min(head.created_at))
        FROM towpath.shard_lease AS lease CROSS JOIN LATERAL (
            SELECT w.created_at FROM towpath.outbox AS w
            WHERE w.shard BETWEEN lease.shard AND lease.shard AND w.seq > lease.published_to AND w.published_at IS NULL
            ORDER BY w.shard, w.seq LIMIT 1
        ) AS head
    ), 0)::float8";

/// The oldest event of each shard that `$1` holds, or that nobody living holds. Last, for how long its own lease lasts.
const HEADS: &str = "
    SELECT lease.shard, head.seq, NULL::bigint FROM towpath.shard_lease AS lease
    CROSS JOIN LATERAL (
        SELECT w.seq FROM towpath.outbox AS w
        WHERE w.shard BETWEEN lease.shard AND lease.shard AND w.seq > lease.published_to AND w.published_at IS NULL
        ORDER BY w.shard, w.seq LIMIT 1
    ) AS head
    WHERE lease.holder = $1 OR NOT EXISTS (
        SELECT FROM towpath.publisher AS p WHERE p.id = lease.holder AND p.expires_at > clock_timestamp())
    UNION ALL
    SELECT NULL, NULL, (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::bigint
    FROM towpath.publisher WHERE id = $1";

const RELEASE: &str = "
    UPDATE towpath.shard_lease SET holder = NULL, fence = fence + 1, expires_at = '-infinity'
    WHERE holder = $1 AND shard = ANY ($2)";

/// How a batch is limited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) events: usize,
    pub(super) events_per_shard: usize,
    pub(super) bytes: usize,
}

/// The oldest event of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) shard: i16,
    pub(super) seq: i64,
}

/// What a publisher should move.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// The oldest event of each shard that it should publish, where any waits.
    pub(super) heads: Vec<Head>,
    /// Its lease has run out.
    pub(super) has_expired: bool,
}

/// What `me` should move, as the database says.
pub(super) async fn due(role: &RelayRole, me: &str) -> anyhow::Result<Due> {
    let mut due = Due::default();
    for row in role.rows(HEADS, &[(&me, Type::TEXT)]).await? {
        match (row.try_get::<_, Option<i16>>(0)?, row.try_get::<_, Option<i64>>(2)?) {
            (Some(shard), _) => due.heads.push(Head { shard, seq: row.try_get(1)? }),
            (None, left_ms) => due.has_expired = left_ms.is_some_and(|left_ms| left_ms <= 0),
        }
    }
    Ok(due)
}

/// Cuts leases that were written while the database's clock was ahead.
pub(super) async fn cut(role: &RelayRole) -> anyhow::Result<()> {
    role.rows(CUT, &[]).await.map(drop)
}

/// Reads the next events of these shards, each from its mark, in the order of their numbers.
pub(super) async fn read(
    role: &RelayRole,
    shards: &[i16],
    marks: &[i64],
    bounds: Bounds,
) -> anyhow::Result<Vec<Waiting>> {
    let [events, per_shard, bytes] =
        [bounds.events, bounds.events_per_shard, bounds.bytes].map(|bound| bound.try_into().unwrap_or(i64::MAX));
    let parameters = [
        (&shards as &(dyn tokio_postgres::types::ToSql + Sync), Type::INT2_ARRAY),
        (&events, Type::INT8),
        (&bytes, Type::INT8),
        (&per_shard, Type::INT8),
        (&marks, Type::INT8_ARRAY),
    ];
    let rows = role.rows(READ, &parameters).await?;
    Ok(rows.iter().map(Waiting::read).collect::<Result<_, _>>()?)
}

/// The last number that was given out, and who may not have committed theirs yet.
pub(super) async fn in_flight(role: &RelayRole) -> anyhow::Result<InFlight> {
    let row = role.row(IN_FLIGHT, &[]).await?;
    let writers: Vec<String> = row.try_get(2)?;
    Ok(InFlight { last: row.try_get(0)?, server: row.try_get(1)?, writers: writers.into_iter().collect() })
}

/// The marks that the database has of these shards.
pub(super) async fn marks(role: &RelayRole, shards: &[i16]) -> anyhow::Result<Vec<(i16, i64)>> {
    let rows = role.rows(MARKS, &[(&shards, Type::INT2_ARRAY)]).await?;
    Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, tokio_postgres::Error>>()?)
}

/// Writes the marks of shards, of those that `me` holds.
pub(super) async fn keep_marks(role: &RelayRole, me: &str, shards: &[i16], marks: &[i64]) -> anyhow::Result<()> {
    let parameters = [
        (&me as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
        (&shards, Type::INT2_ARRAY),
        (&marks, Type::INT8_ARRAY),
    ];
    role.rows(KEEP_MARKS, &parameters).await?;
    Ok(())
}

/// Marks events as published, where `me` still holds their shards. Of the events, `event_shards` and `seqs` have one entry
/// each. Answers how many it marked.
pub(super) async fn settle(
    role: &RelayRole,
    me: &str,
    held: &Held,
    (event_shards, seqs): (&[i16], &[i64]),
) -> anyhow::Result<i64> {
    let (shards, fences): (Vec<i16>, Vec<i64>) = held.iter().unzip();
    let parameters = [
        (&me as &(dyn tokio_postgres::types::ToSql + Sync), Type::TEXT),
        (&shards, Type::INT2_ARRAY),
        (&fences, Type::INT8_ARRAY),
        (&event_shards, Type::INT2_ARRAY),
        (&seqs, Type::INT8_ARRAY),
    ];
    Ok(role.row(SETTLE, &parameters).await?.try_get(0)?)
}

/// Makes a publisher known. It holds nothing yet.
pub(super) async fn register(role: &RelayRole, me: &str, instance: &str, lease: Duration) -> anyhow::Result<()> {
    let lease = milliseconds(lease);
    role.rows(REGISTER, &[(&me, Type::TEXT), (&instance, Type::TEXT), (&lease, Type::INT8)]).await?;
    Ok(())
}

/// Renews what `me` holds. `false`: it was retired.
pub(super) async fn renew(role: &RelayRole, me: &str, lease: Duration) -> anyhow::Result<bool> {
    let lease = milliseconds(lease);
    let row = role.row(RENEW, &[(&me, Type::TEXT), (&lease, Type::INT8)]).await?;
    Ok(row.try_get::<_, i64>(0)? == 1)
}

/// How many events wait, up to 10,000, and for how many seconds the oldest of them does.
pub(super) async fn backlog(role: &RelayRole) -> anyhow::Result<(i64, f64)> {
    let row = role.row(BACKLOG, &[]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Who holds what, and who lives.
pub(super) async fn look(role: &RelayRole, me: &str) -> anyhow::Result<View> {
    let mut view = View::default();
    for row in role.rows(LOOK, &[]).await? {
        view.clock_ms = row.try_get(4)?;
        let (id, left_ms, shard): (Option<String>, Option<i64>, Option<i16>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        match (id, left_ms, shard) {
            (holder, _, Some(shard)) => view.leases.push(Lease { shard, holder, fence: row.try_get(3)? }),
            (Some(id), left_ms, None) => view.publisher(me, id, left_ms.unwrap_or_default()),
            (None, ..) => {}
        }
    }
    view.leases.sort_by_key(|lease| lease.shard);
    Ok(view)
}

/// The publishers that this relay was before it started again.
pub(super) async fn predecessors(role: &RelayRole, instance: &str) -> anyhow::Result<Vec<String>> {
    let sql = "SELECT id FROM towpath.publisher WHERE instance = $1";
    let rows = role.rows(sql, &[(&instance, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// Takes free shards. Answers all that `me` holds then: nothing where it was retired.
pub(super) async fn take(role: &RelayRole, me: &str, shards: &[i16]) -> anyhow::Result<Held> {
    let sql = "SELECT shard, fence FROM towpath.publisher_take($1, $2)";
    let rows = role.rows(sql, &[(&me, Type::TEXT), (&shards, Type::INT2_ARRAY)]).await?;
    Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, tokio_postgres::Error>>()?)
}

/// Gives shards up.
pub(super) async fn release(role: &RelayRole, me: &str, shards: &[i16]) -> anyhow::Result<()> {
    role.rows(RELEASE, &[(&me, Type::TEXT), (&shards, Type::INT2_ARRAY)]).await?;
    Ok(())
}

/// Forgets a publisher, frees what it held, and marks what it had committed in Kafka. Answers how much it held.
pub(super) async fn retire(role: &RelayRole, id: &str, committed: &[i64]) -> anyhow::Result<i32> {
    let sql = "SELECT towpath.publisher_retire($1, $2)";
    Ok(role.row(sql, &[(&id, Type::TEXT), (&committed, Type::INT8_ARRAY)]).await?.try_get(0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lease_is_cut_that_relay_toml_may_say() {
        let lease = crate::config::Limits::ALL.iter().find(|(name, ..)| *name == "lease_ms");
        let most = lease.map(|(_, _, _, most, _)| format!("coalesce(lease_ms, {most})")).unwrap_or_default();
        assert!(!most.is_empty() && CUT.matches(&most).count() == 2, "{most}: {CUT}");
    }
}
