//! Held keys, for a person: the first event of each, and what may be done with it.
//!
//! [`crate::command`] is its command line. It works in the databases alone, beside the relays that publish: they see what was
//! changed within `limits.outbox_sweep_ms`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use futures::future::join_all;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::config::{Config, ServiceConfig};
use crate::postgres::{Database, RelayRole};

/// So many are listed of one service at the most.
pub(crate) const MAX_LISTED: i64 = 1_000;

/// The first event of a key that is held, and its key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeldEvent {
    /// `SERVICE/SEQ`
    pub(crate) id: String,
    /// Whose outbox it is.
    pub(crate) service: String,
    /// Its number in the outbox.
    pub(crate) seq: i64,
    /// Where it should go.
    pub(crate) topic: String,
    /// Its key.
    pub(crate) key: String,
    /// The id of the CloudEvent.
    pub(crate) event_id: String,
    /// The type of the CloudEvent.
    pub(crate) kind: String,
    /// How many bytes its data has.
    pub(crate) bytes: i64,
    /// Its data, where it was asked for.
    pub(crate) data: Option<String>,
    /// How often in a row Kafka refused it; 0: it goes on now.
    pub(crate) tries: i32,
    /// What Kafka said.
    pub(crate) cause: String,
    /// Since when the key waits, RFC 3339.
    pub(crate) since: String,
    /// When the relay tries it again, RFC 3339.
    pub(crate) retry_at: String,
    /// How many events wait behind it.
    pub(crate) behind: i64,
}

/// Selects keys: all conditions must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// Of this service.
    pub(crate) service: Option<String>,
    /// Of this topic.
    pub(crate) topic: Option<String>,
    /// Of this key.
    pub(crate) key: Option<String>,
    /// With these ids; any, where there are none.
    pub(crate) ids: BTreeSet<String>,
}

const LIST: &str = "
    SELECT e.seq, e.topic, e.key, e.id, e.type, octet_length(e.data)::bigint, CASE WHEN $4 THEN e.data END, k.refused, k.cause,
           to_char(k.held_since AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
           to_char(k.retry_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'),
           (SELECT count(*) - 1 FROM towpath.held_event AS b WHERE b.topic = k.topic AND b.key = k.key)
    FROM towpath.held_key AS k
    CROSS JOIN LATERAL (
        SELECT * FROM towpath.held_event AS h WHERE h.topic = k.topic AND h.key = k.key ORDER BY h.seq LIMIT 1
    ) AS e
    WHERE ($1::text IS NULL OR k.topic = $1) AND ($2::text IS NULL OR k.key = $2)
      AND (cardinality($3::bigint[]) = 0 OR e.seq = ANY ($3))
    ORDER BY e.seq LIMIT $5";

const RETRY: &str = "
    UPDATE towpath.held_key AS k SET retry_at = clock_timestamp()
    FROM towpath.held_event AS e WHERE e.seq = ANY ($1) AND k.topic = e.topic AND k.key = e.key";

const DROP: &str = "SELECT towpath.held_drop($1)";

/// What is held, as far as the databases answer.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The held keys that match, oldest first, at most [`MAX_LISTED`] of each service.
    pub(crate) events: Vec<HeldEvent>,
    /// Why a database could not be asked, which each names.
    pub(crate) away: Vec<anyhow::Error>,
}

impl Listed {
    /// Nothing less than all of it.
    fn whole(mut self) -> anyhow::Result<Vec<HeldEvent>> {
        if self.away.is_empty() { Ok(self.events) } else { Err(self.away.swap_remove(0)) }
    }
}

/// What matches, of the databases that answer.
///
/// # Errors
/// Where the configuration is wrong.
pub(crate) async fn list(config: &Config, filter: &Filter, with_data: bool) -> anyhow::Result<Listed> {
    Ok(find(&roles(config, filter)?, filter, with_data).await)
}

/// All databases at once: one that is away holds up none of the others.
async fn find(roles: &Roles, filter: &Filter, with_data: bool) -> Listed {
    let mut listed = Listed::default();
    for found in join_all(roles.iter().map(|(service, role)| find_of(service, role, filter, with_data))).await {
        match found {
            Ok(events) => listed.events.extend(events),
            Err(error) => listed.away.push(error),
        }
    }
    listed
}

async fn find_of(service: &str, role: &RelayRole, filter: &Filter, with_data: bool) -> anyhow::Result<Vec<HeldEvent>> {
    let seqs: Vec<i64> = filter.ids.iter().filter_map(|id| seq_of(id, service)).collect();
    if seqs.is_empty() && !filter.ids.is_empty() {
        return Ok(Vec::new());
    }
    let parameters = [
        (&filter.topic as &(dyn ToSql + Sync), Type::TEXT),
        (&filter.key, Type::TEXT),
        (&seqs, Type::INT8_ARRAY),
        (&with_data, Type::BOOL),
        (&MAX_LISTED, Type::INT8),
    ];
    let rows = role.rows(LIST, &parameters).await.with_context(|| database_of(service))?;
    Ok(rows.iter().map(|row| event(service, row)).collect::<Result<_, _>>()?)
}

/// As errors name it.
fn database_of(service: &str) -> String {
    format!("the database of {service}")
}

/// Has the relays try the keys that match at once. Answers which.
///
/// # Errors
/// If a database doesn't answer.
pub(crate) async fn retry(config: &Config, filter: &Filter) -> anyhow::Result<Vec<HeldEvent>> {
    let roles = roles(config, filter)?;
    let found = find(&roles, filter, false).await.whole()?;
    for (service, role) in &roles {
        let seqs: Vec<i64> = found.iter().filter(|event| event.service == *service).map(|event| event.seq).collect();
        role.rows(RETRY, &[(&seqs, Type::INT8_ARRAY)]).await.with_context(|| database_of(service))?;
    }
    Ok(found)
}

/// Drops the first events of the keys that match, for good. Answers which: not one that Kafka took meanwhile.
///
/// # Errors
/// If a database doesn't answer.
pub(crate) async fn drop(config: &Config, filter: &Filter) -> anyhow::Result<Vec<HeldEvent>> {
    let roles = roles(config, filter)?;
    let mut dropped = Vec::new();
    for event in find(&roles, filter, false).await.whole()? {
        let row = roles[&event.service].row(DROP, &[(&event.seq, Type::INT8)]).await;
        if row.with_context(|| database_of(&event.service))?.try_get::<_, bool>(0)? {
            dropped.push(event);
        }
    }
    Ok(dropped)
}

/// The services that publish, and so may have held keys.
pub(crate) fn publishing(config: &Config) -> impl Iterator<Item = &ServiceConfig> {
    config.services.values().filter(|service| !service.publish.is_empty() && service.postgres.is_some())
}

/// The relay's role in the databases of services.
type Roles = BTreeMap<String, RelayRole>;

fn roles(config: &Config, filter: &Filter) -> anyhow::Result<Roles> {
    let wanted = |service: &&ServiceConfig| filter.service.as_ref().is_none_or(|wanted| *wanted == service.name);
    let role = |service: &ServiceConfig| {
        let Some(postgres) = &service.postgres else { anyhow::bail!("{} has no database", service.name) };
        let database = Database::new(postgres, &service.limits, "outbox")?;
        Ok((service.name.clone(), RelayRole::new(&database, &service.limits)))
    };
    publishing(config).filter(wanted).map(role).collect()
}

fn seq_of(id: &str, service: &str) -> Option<i64> {
    let (of, seq) = id.rsplit_once('/')?;
    if of == service { seq.parse().ok() } else { None }
}

fn event(service: &str, row: &Row) -> Result<HeldEvent, tokio_postgres::Error> {
    let seq: i64 = row.try_get(0)?;
    Ok(HeldEvent {
        id: format!("{service}/{seq}"),
        service: service.to_owned(),
        seq,
        topic: row.try_get(1)?,
        key: row.try_get(2)?,
        event_id: row.try_get(3)?,
        kind: row.try_get(4)?,
        bytes: row.try_get(5)?,
        data: row.try_get(6)?,
        tries: row.try_get(7)?,
        cause: row.try_get(8)?,
        since: row.try_get(9)?,
        retry_at: row.try_get(10)?,
        behind: row.try_get(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_service_and_a_number() {
        assert_eq!(seq_of("alpha/17", "alpha"), Some(17));
        for other in ["beta/17", "alpha/x", "alpha", "17", "alpha/17/18"] {
            assert_eq!(seq_of(other, "alpha"), None, "{other}");
        }
    }
}
