//! The figures of one run.

use std::fmt;

use serde::Serialize;
use towpath_stack::terminal::number;

use super::latency::Latency;
use super::load::Measured;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Measured time of each figure.
    pub(super) seconds: u64,
    /// Clients at once.
    pub(super) clients: usize,
    /// Processors that the machine has; clients and servers share them.
    pub(super) processors: usize,
    /// The figures.
    pub(super) rows: Vec<Row>,
}

/// One figure.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    what: String,
    unit: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    beside: Option<Beside>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// What did the same without the stack.
#[derive(Debug, Serialize)]
struct Beside {
    what: &'static str,
    value: f64,
    /// The figure, divided by this one.
    ratio: f64,
}

impl Row {
    pub(super) fn new(what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self { what: what.into(), unit, value, beside: None, latency: None, note: None }
    }

    pub(super) fn of(what: &str, unit: &'static str, measured: &Measured) -> Self {
        Self { latency: Some(measured.latency()), ..Self::new(what, unit, measured.per_second()) }
    }

    pub(super) fn beside(mut self, what: &'static str, value: f64) -> Self {
        self.beside = Some(Beside { what, value, ratio: self.value / value });
        self
    }

    pub(super) fn noting(mut self, note: String) -> Self {
        self.note = Some(note);
        self
    }
}

/// A number as a person reads it: three digits that count, thousands apart.
fn readable(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    number(value.round_ties_even() as u64)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, clients, processors, rows } = self;
        writeln!(f, "{clients} clients, {seconds} s each, {processors} processors for clients and servers together\n")?;
        for row in rows {
            let value = format!("{} {}", readable(row.value), row.unit);
            write!(f, "{:<44}{value:>20}", row.what)?;
            if let Some(Beside { what, value, ratio }) = &row.beside {
                write!(f, "   {ratio:>5.2} of {} ({what})", readable(*value))?;
            }
            writeln!(f)?;
            if let Some(Latency { p50_ms, p95_ms, p99_ms, max_ms }) = &row.latency {
                writeln!(f, "    p50 {p50_ms:.1} ms, p95 {p95_ms:.1} ms, p99 {p99_ms:.1} ms, longest {max_ms:.1} ms")?;
            }
            if let Some(note) = &row.note {
                writeln!(f, "    {note}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_another_with_their_ratio() {
        let row = Row::new("units of work", "units/s", 1234.5).beside("pgbench", 2469.0);
        let report = Report { seconds: 5, clients: 8, processors: 2, rows: vec![row] };
        let text = report.to_string();
        assert!(text.contains("1,234 units/s") && text.contains("0.50 of 2,469 (pgbench)"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rows"][0]["beside"]["ratio"], 0.5);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(readable(7.04), "7.0");
        assert_eq!(readable(123.4), "123");
        assert_eq!(readable(1_234_567.0), "1,234,567");
    }
}
