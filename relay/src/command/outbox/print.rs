//! Held events as lines and as JSON.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use crate::command::print::{count, cut, line, shown, table};
use crate::events::outbox::held::HeldEvent;

/// `list` shows this much of a cause; `show` shows all.
const MAX_CAUSE_CHARS: usize = 80;

/// One event; its data only where it was read.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    service: &'a str,
    topic: &'a str,
    key: &'a str,
    event_id: &'a str,
    r#type: &'a str,
    bytes: i64,
    cause: &'a str,
    tries: i32,
    since: &'a str,
    retry_at: &'a str,
    behind: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl<'a> Line<'a> {
    fn of(event: &'a HeldEvent) -> Self {
        Self {
            id: &event.id,
            service: &event.service,
            topic: &event.topic,
            key: &event.key,
            event_id: &event.event_id,
            r#type: &event.kind,
            bytes: event.bytes,
            cause: &event.cause,
            tries: event.tries,
            since: &event.since,
            retry_at: &event.retry_at,
            behind: event.behind,
            data: event.data.as_deref().map(data),
        }
    }
}

/// JSON, as the component gave it.
fn data(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A table, or a JSON object per line.
pub(super) fn list(events: &[HeldEvent], json: bool) -> anyhow::Result<String> {
    if json {
        return events.iter().map(|event| line(&Line::of(event))).collect();
    }
    if events.is_empty() {
        return Ok(String::new());
    }
    let names = ["ID", "TOPIC", "KEY", "TYPE", "BYTES", "BEHIND", "TRIES", "SINCE", "NEXT TRY", "CAUSE"];
    let mut rows = vec![names.map(str::to_owned)];
    rows.extend(events.iter().map(|event| {
        [
            shown(&event.id),
            shown(&event.topic),
            shown(&event.key),
            shown(&event.kind),
            event.bytes.to_string(),
            event.behind.to_string(),
            event.tries.to_string(),
            event.since.clone(),
            event.retry_at.clone(),
            cut(&event.cause, MAX_CAUSE_CHARS),
        ]
    }));
    table(&rows)
}

/// All of each event, for a person or as a JSON object per line.
pub(super) fn whole(events: &[HeldEvent], json: bool) -> anyhow::Result<String> {
    if json {
        return list(events, true);
    }
    let mut text = String::new();
    for (number, event) in events.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        writeln!(text, "{}", shown(&event.id))?;
        writeln!(text, "  cause    {}", shown(&event.cause))?;
        writeln!(text, "  tries    {} since {}, the next at {}", event.tries, event.since, event.retry_at)?;
        writeln!(text, "  behind   {} of the same key", count(event.behind.try_into().unwrap_or(0), "event"))?;
        writeln!(text, "  topic    {}", shown(&event.topic))?;
        writeln!(text, "  key      {}", shown(&event.key))?;
        writeln!(text, "  type     {}", shown(&event.kind))?;
        writeln!(text, "  event    {}, {} bytes of data", shown(&event.event_id), event.bytes)?;
        let pretty = serde_json::to_string_pretty(&data(event.data.as_deref().unwrap_or_default()))?;
        writeln!(text, "{pretty}")?;
    }
    Ok(text)
}

/// What was dropped, one line each.
pub(super) fn dropped(all: &[HeldEvent]) -> anyhow::Result<String> {
    let mut text = String::new();
    for event in all {
        let (id, kind, topic, key) = (shown(&event.id), shown(&event.kind), shown(&event.topic), shown(&event.key));
        let behind = match event.behind {
            0 => "nothing waits behind it".to_owned(),
            behind => format!("the key goes on with the {} behind it", count(behind.try_into().unwrap_or(0), "event")),
        };
        writeln!(text, "  {id}: {kind} of key {key} for {topic}; {behind}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> HeldEvent {
        HeldEvent {
            id: "alpha/17".into(),
            service: "alpha".into(),
            seq: 17,
            topic: "t".into(),
            key: "k\x1b[31m".into(),
            event_id: "e-1".into(),
            kind: "thing.made".into(),
            bytes: 9,
            data: None,
            tries: 3,
            cause: "Broker: Message size too large".into(),
            since: "2026-08-23T10:00:00Z".into(),
            retry_at: "2026-08-23T10:01:00Z".into(),
            behind: 2,
        }
    }

    #[test]
    fn the_table_is_one_line_per_event_and_steers_no_terminal() {
        let text = list(&[event()], false).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("alpha/17") && text.contains("too large") && !text.contains('\x1b'), "{text:?}");
        assert_eq!(list(&[], false).unwrap(), "");
    }

    #[test]
    fn the_json_has_what_the_table_has_and_data_where_it_was_read() {
        let json = |event: &HeldEvent| {
            serde_json::from_str::<Value>(&list(std::slice::from_ref(event), true).unwrap()).unwrap()
        };
        let listed = json(&event());
        assert_eq!((&listed["id"], &listed["tries"], &listed["behind"]), (&"alpha/17".into(), &3.into(), &2.into()));
        assert!(listed.get("data").is_none());
        let shown = HeldEvent { data: Some("{\"n\": 12345678901234567890}".into()), ..event() };
        assert_eq!(json(&shown)["data"]["n"].to_string(), "12345678901234567890");
        let text = whole(&[shown], false).unwrap();
        assert!(
            text.contains("  behind   2 events of the same key") && text.contains("\"n\": 12345678901234567890"),
            "{text}"
        );
    }

    #[test]
    fn a_drop_says_what_it_dropped() {
        let text = dropped(&[event()]).unwrap();
        assert!(text.contains("alpha/17: thing.made of key") && text.contains("with the 2 events behind it"), "{text}");
    }
}
