//! All figures of one run, for people and for programs.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::figure::{Beside, Figure, Spread};
use super::latency::Latency;
use super::number::readable;

/// The form of the JSON file: a program that reads another one says so.
pub(super) const FORM: u32 = 2;

/// Everything that was measured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) form: u32,
    /// Rounds of each figure.
    pub(super) rounds: usize,
    /// Measured seconds of each round.
    pub(super) seconds: u64,
    /// Processors that the machine has; clients and servers share them.
    pub(super) processors: usize,
    pub(super) figures: Vec<Figure>,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&readable(self.median))?;
        if self.low < self.high {
            write!(f, " ({} to {})", readable(self.low), readable(self.high))?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, seconds, processors, figures, .. } = self;
        writeln!(
            f,
            "{rounds} rounds of {seconds} s: the median, and in brackets the lowest and the highest round; {processors} processors \
             for clients and servers together\n"
        )?;
        figures.iter().try_for_each(|figure| writeln!(f, "{figure}"))
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.value, self.unit)?;
        if let Some(Beside { what, value, ratio }) = &self.beside {
            write!(f, "\n    {} of {what}, {value}", Ratio(*ratio))?;
        }
        if let Some(Latency { p50_ms, p95_ms, p99_ms, max_ms }) = &self.latency {
            let [p50, p95, p99, longest] = [p50_ms, p95_ms, p99_ms, max_ms].map(|ms| readable(*ms));
            write!(f, "\n    p50 {p50} ms, p95 {p95} ms, p99 {p99} ms, longest {longest} ms")?;
        }
        if let Some(cost) = &self.cost {
            write!(f, "\n    each: {cost}")?;
        }
        if let Some(note) = &self.note {
            write!(f, "\n    {note}")?;
        }
        Ok(())
    }
}

/// A ratio has two digits after the point, however small it is.
struct Ratio(Spread);

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spread { median, low, high } = self.0;
        write!(f, "{median:.2}")?;
        if low < high { write!(f, " ({low:.2} to {high:.2})") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_stands_beside_another_with_their_ratio() {
        let rounds = [1234.5, 1200.0, 1300.0];
        let figure =
            Figure::of("units of work", "units/s", &rounds).beside("pgbench", &rounds, &[2469.0, 2400.0, 2600.0]);
        let report = Report { form: FORM, rounds: 3, seconds: 5, processors: 2, figures: vec![figure] };
        let text = report.to_string();
        assert!(text.contains("units of work: 1,234 (1,200 to 1,300) units/s"), "{text}");
        assert!(text.contains("0.50 of pgbench, 2,469 (2,400 to 2,600)"), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["figures"][0]["beside"]["ratio"]["median"], 0.5);
        assert_eq!(json["figures"][0]["median"], 1234.5);
    }
}
