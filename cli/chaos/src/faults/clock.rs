//! A database's clock is hours ahead for a while, and comes back.
//!
//! No program may set the clock of a machine that others use, and a server's clock is the machine's. But the statements of relay
//! and components name `clock_timestamp()` and `now()` without a schema, so a schema that their roles search first moves the
//! clock for them, in one database: leases, timers, retention, expiry. What it doesn't move are the defaults of columns and the
//! functions that fix their search path, which stamp rows and decide nothing. The clock comes back by itself at a fixed moment,
//! whatever becomes of this program.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use super::postgres::TERMINATE;
use crate::fault::{Blast, Fault, Struck};
use crate::group::Group;
use crate::service::Service;
use crate::stage::Stage;

/// For how long it is ahead: every timer is called meanwhile, and every lease renewed.
const SPAN: Duration = Duration::from_secs(12);
/// By when nothing waits for the time that didn't come: the longest that a relay sleeps before it looks at a timer.
const BY: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(250);

/// Until `{end}`. `pg_catalog` is searched first only where a search path doesn't name it.
const AHEAD: &str = "
    DROP SCHEMA IF EXISTS chaos_clock CASCADE;
    CREATE SCHEMA chaos_clock;
    CREATE FUNCTION chaos_clock.leap() RETURNS interval LANGUAGE sql VOLATILE AS $$
        SELECT CASE WHEN pg_catalog.clock_timestamp() < '{end}'::timestamptz THEN interval '2 hours' ELSE interval '0' END
    $$;
    CREATE FUNCTION chaos_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
        SELECT pg_catalog.clock_timestamp() + chaos_clock.leap()
    $$;
    CREATE FUNCTION chaos_clock.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$
        SELECT pg_catalog.now() + chaos_clock.leap()
    $$;
    GRANT USAGE ON SCHEMA chaos_clock TO PUBLIC;
    ALTER ROLE {app} IN DATABASE \"{database}\" SET search_path = chaos_clock, app, pg_catalog;
    ALTER ROLE towpath_relay IN DATABASE \"{database}\" SET search_path = chaos_clock, app, pg_catalog";

const BACK: &str = "
    ALTER ROLE {app} IN DATABASE \"{database}\" RESET search_path;
    ALTER ROLE towpath_relay IN DATABASE \"{database}\" RESET search_path";

/// What was written while the clock was ahead and would be waited for: timers that are due, and leases that end, much later than
/// any does.
const LATE: &str = "
    SELECT 'timer ' || name, extract(epoch FROM next_due - clock_timestamp())::float8 FROM towpath.timer
    WHERE next_due > clock_timestamp() + interval '30 minutes'
    UNION ALL
    SELECT 'publisher ' || id, extract(epoch FROM expires_at - clock_timestamp())::float8 FROM towpath.publisher
    WHERE expires_at > clock_timestamp() + interval '30 minutes'";

pub(super) fn all() -> Vec<Box<dyn Fault>> {
    Service::ALL.into_iter().map(|service| Box::new(ClockAhead(service)) as _).collect()
}

/// The clock of one database.
struct ClockAhead(Service);

impl Fault for ClockAhead {
    fn name(&self) -> String {
        format!("clock-ahead-postgres-{}", self.0.name())
    }

    fn group(&self) -> Group {
        Group::Clock
    }

    fn about(&self) -> String {
        let (service, seconds) = (self.0.name(), SPAN.as_secs());
        format!(
            "the clock of the database of {service}, as relay and component see it, is two hours ahead for {seconds} s"
        )
    }

    fn duration(&self) -> Duration {
        SPAN + BY
    }

    /// Connections are made anew at its beginning and its end, so that they see the other clock.
    fn blast(&self, _: &Stage) -> Blast {
        Blast::refusing([self.0])
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let database = stage.database(self.0).await?;
            let end: String = database
                .query_one(
                    "SELECT (pg_catalog.clock_timestamp() + $1 * interval '1 second')::text",
                    &[&SPAN.as_secs_f64()],
                )
                .await?
                .get(0);
            database
                .batch_execute(&self.filled_in(AHEAD).replace("{end}", &end))
                .await
                .context("the clock isn't set")?;
            self.reconnect(&database).await?;
            tokio::time::sleep(SPAN).await;
            database.batch_execute(&self.filled_in(BACK)).await.context("the clock stays")?;
            self.reconnect(&database).await?;
            // Only now: prepared statements that name its functions are gone with their connections.
            database.batch_execute("DROP SCHEMA chaos_clock CASCADE").await.context("the clock stays")?;
            self.until_nothing_is_late(&database).await
        })
    }
}

impl ClockAhead {
    fn filled_in(&self, sql: &str) -> String {
        let service = self.0.name();
        sql.replace("{app}", &format!("{service}_app")).replace("{database}", service)
    }

    async fn reconnect(&self, database: &Client) -> Result<()> {
        database.query_one(TERMINATE, &[&format!("{}_app", self.0.name())]).await?;
        Ok(())
    }

    async fn until_nothing_is_late(&self, database: &Client) -> Result<Struck> {
        let came_back = Instant::now();
        loop {
            let rows = database.query(LATE, &[]).await?;
            let Some(row) = rows.first() else {
                let (service, seconds) = (self.0.name(), came_back.elapsed().as_secs_f64());
                let note =
                    format!("the clock of {service} was two hours ahead; {seconds:.1} s later nothing waited for it");
                return Ok(Struck::noted(note));
            };
            if came_back.elapsed() > BY {
                let (what, late): (String, f64) = (row.get(0), row.get(1));
                let mut struck = Struck::noted(format!("the clock of {} was two hours ahead", self.0.name()));
                struck.broken.push(format!("after the clock came back, {what} still waits for {late:.0} s"));
                return Ok(struck);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
