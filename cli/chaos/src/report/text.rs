//! The report as text, for a reader who doesn't know the code.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use towpath_stack::terminal::number;

use super::{Report, Struck, Totals};
use crate::judge::{Finding, Promise};

/// How many findings of one promise are printed; `--json` has them all.
const MAX_PRINTED: usize = 10;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (settings, seconds) = (&self.settings, self.seconds);
        let replicas = match settings.replicas {
            1 => String::new(),
            n => format!(", {n} replicas"),
        };
        let clock = clock(seconds);
        writeln!(f, "Seed {}: {clock} min, {} orders/s{replicas}\n", settings.seed, settings.rate)?;
        for struck in &self.faults {
            writeln!(f, "{struck}")?;
        }
        writeln!(f, "{}", self.totals)?;
        for promise in &self.promises {
            write!(f, "{promise}")?;
        }
        match self.promises.iter().filter(|promise| !promise.broken.is_empty()).count() {
            0 => writeln!(f, "\nEvery promise was kept.")?,
            1 => writeln!(f, "\nA promise was broken. The same again:\n  {}", settings.again)?,
            n => writeln!(f, "\n{n} promises were broken. The same again:\n  {}", settings.again)?,
        }
        Ok(())
    }
}

impl Display for Struck {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { fault, about, from_s, to_s, note, sight, .. } = self;
        writeln!(f, "{}  {fault}: {about}", clock(*from_s))?;
        writeln!(f, "       {note} ({:.1} s in all)", to_s - from_s)?;
        let answers = if sight.answers.is_empty() { "nothing".into() } else { counts(&sight.answers) };
        write!(f, "       clients saw {answers}; longest silence {:.1} s", sight.longest_silence_s)?;
        if sight.slowest_refusal_s > 0.0 {
            write!(f, ", slowest refusal {:.1} s", sight.slowest_refusal_s)?;
        }
        writeln!(f)
    }
}

impl Display for Totals {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let orders: usize = self.orders.values().sum();
        let answers: usize = self.answers.values().sum();
        writeln!(f, "{} orders: {}", count(orders), counts(&self.orders))?;
        writeln!(f, "{} answers: {}", count(answers), counts(&self.answers))?;
        let (replayed, retries) = (count(self.replayed), count(self.retries));
        write!(f, "{retries} repeated calls, {replayed} answers given once more")?;
        if self.given_up > 0 {
            write!(f, ", {} calls without an answer at the end", self.given_up)?;
        }
        if self.unsent > 0 {
            write!(f, ", {} clients not let in as 500 were there", self.unsent)?;
        }
        writeln!(f)?;
        writeln!(f, "{} events handled, {} duplicates", number(self.handled), number(self.duplicates))?;
        let relays: Vec<String> = self.relays.iter().map(|(what, n)| format!("{} {what}", number(*n))).collect();
        writeln!(f, "relays counted: {}", relays.join(", "))?;
        let Self { processor_away_s: processor, disk_away_s: disk, .. } = self;
        writeln!(
            f,
            "the machine itself stood still for {disk:.1} s (disk) and {processor:.1} s (processor) at the longest"
        )
    }
}

impl Display for Promise {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { promise, checked, of, broken } = self;
        let (mark, by) = match broken.len() {
            0 => ("✓", String::new()),
            n => ("✗", format!(", broken by {}", count(n))),
        };
        writeln!(f, "{mark} {promise:<78} {:>8} {of}{by}", count(*checked))?;
        for Finding { ids, expected, seen } in broken.iter().take(MAX_PRINTED) {
            writeln!(f, "    {}\n        expected: {expected}\n        seen:     {seen}", ids.join(", "))?;
        }
        if let more @ 1.. = broken.len().saturating_sub(MAX_PRINTED) {
            writeln!(f, "    and {more} more: --json FILE has them all")?;
        }
        Ok(())
    }
}

/// Minutes and seconds.
fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

fn count(n: usize) -> String {
    number(n as u64)
}

fn counts(counts: &BTreeMap<String, usize>) -> String {
    let each: Vec<String> = counts.iter().map(|(what, n)| format!("{} × {what}", count(*n))).collect();
    each.join(", ")
}
