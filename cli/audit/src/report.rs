//! What an audit found, for people and for programs.

use std::fmt;

use serde::Serialize;

/// How many findings of one invariant are printed; `--json` has them all.
const MAX_PRINTED: usize = 20;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One entry for each invariant, in the order of docs/invariants.md.
    pub invariants: Vec<Invariant>,
}

/// One invariant, and what breaks it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invariant {
    /// Its number in docs/invariants.md.
    pub number: u8,
    /// What it promises.
    pub promise: &'static str,
    /// What was looked at, such as `orders`.
    pub of: &'static str,
    /// How many of them there are.
    pub examined: usize,
    /// What breaks it.
    pub broken: Vec<Finding>,
    /// What would break it if it stayed so, but is still under way.
    pub in_flight: Vec<Finding>,
}

/// One thing that isn't as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The order, the payment or the SKU.
    pub id: String,
    /// What is wrong with it.
    pub what: String,
    /// True where no later event can mend it: it must not be seen even for a moment.
    pub lasting: bool,
}

impl Invariant {
    pub(crate) fn new(number: u8, promise: &'static str, of: &'static str, examined: usize) -> Self {
        Self { number, promise, of, examined, broken: Vec::new(), in_flight: Vec::new() }
    }

    /// Something that must never be, not even for a moment.
    pub(crate) fn never(&mut self, id: impl ToString, what: impl Into<String>) {
        self.broken.push(Finding { id: id.to_string(), what: what.into(), lasting: true });
    }

    /// Something that ends by itself, however old it is.
    pub(crate) fn under_way(&mut self, id: impl ToString, what: impl Into<String>) {
        self.in_flight.push(Finding { id: id.to_string(), what: what.into(), lasting: false });
    }

    /// Something that is on its way while it is younger than `grace_s`, and broken after.
    pub(crate) fn unless_under_way(&mut self, id: impl ToString, what: impl Into<String>, age_s: f64, grace_s: f64) {
        let finding = Finding { id: id.to_string(), what: what.into(), lasting: false };
        if age_s < grace_s { self.in_flight.push(finding) } else { self.broken.push(finding) }
    }
}

impl Report {
    /// Whether nothing is broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.invariants.iter().all(|invariant| invariant.broken.is_empty())
    }

    /// Whether nothing is broken and nothing is under way.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.is_clean() && self.invariants.iter().all(|invariant| invariant.in_flight.is_empty())
    }

    /// Whether something is broken that no waiting mends.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.invariants.iter().any(|invariant| invariant.broken.iter().any(|finding| finding.lasting))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widest =
            self.invariants.iter().map(|invariant| invariant.promise.chars().count()).max().unwrap_or_default();
        for invariant in &self.invariants {
            let Invariant { number, promise, of, examined, broken, in_flight } = invariant;
            let verdict = match broken.len() {
                0 => String::from("ok"),
                n => format!("BROKEN by {n}"),
            };
            let under_way = match in_flight.len() {
                0 => String::new(),
                n => format!(", {n} in flight"),
            };
            writeln!(f, "{number}  {promise:<widest$}  {examined:>8} {of:<8}  {verdict}{under_way}")?;
            for (mark, findings) in [("BROKEN", broken), ("in flight", in_flight)] {
                for Finding { id, what, .. } in findings.iter().take(MAX_PRINTED) {
                    writeln!(f, "     {mark}  {id}: {what}")?;
                }
                if let more @ 1.. = findings.len().saturating_sub(MAX_PRINTED) {
                    writeln!(f, "     {mark}  and {more} more: --json names them all")?;
                }
            }
        }
        Ok(())
    }
}
