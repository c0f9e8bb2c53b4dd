//! What the attacks came to, for people and for programs.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use serde::Serialize;

use super::Resident;
use super::attacks::Attack;
use super::others::Sight;

/// Resident memory around an attack, in MiB.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Memory {
    pub(super) before: Resident,
    pub(super) most: Resident,
    /// A minute after it at most; absent where only the end of all attacks is waited for.
    pub(super) after: Option<Resident>,
}

/// One attack, and what others saw.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    attack: &'static str,
    about: &'static str,
    /// How many connections or requests it took.
    efforts: u64,
    unit: &'static str,
    before: Sight,
    meanwhile: Sight,
    after: Sight,
    memory_mib: Memory,
    held: bool,
}

impl Row {
    pub(super) fn new(attack: &Attack, efforts: u64, sights: [Sight; 3], memory_mib: Memory) -> Self {
        let [before, meanwhile, after] = sights;
        let memory_is_back = memory_mib.after.is_none_or(|after| after.is_back_to(memory_mib.before));
        let held = meanwhile.is_served() && after.is_served() && memory_is_back;
        let Attack { name, about, unit, .. } = *attack;
        Self { attack: name, about, efforts, unit, before, meanwhile, after, memory_mib, held }
    }
}

/// All attacks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    held: bool,
    /// Within which time others had to be served.
    in_time_ms: u64,
    attacks: Vec<Row>,
    /// Before the first attack, and after the last and a minute at most.
    begin_mib: Resident,
    end_mib: Resident,
}

impl Report {
    pub(super) fn new(attacks: Vec<Row>, in_time: Duration, begin_mib: Resident, end_mib: Resident) -> Self {
        let held = attacks.iter().all(|row| row.held) && end_mib.is_back_to(begin_mib);
        let in_time_ms = u64::try_from(in_time.as_millis()).unwrap_or(u64::MAX);
        Self { held, in_time_ms, attacks, begin_mib, end_mib }
    }

    /// Whether others were served in time throughout, and the memory came back.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (attack, efforts, others) = ("attack", "what it took", "others in time, meanwhile");
        writeln!(
            f,
            "  {attack:<14} {efforts:>18}  {others:>25}  {:>22}  {:>20}  {:>20}",
            "p99 ms before/mid/after", "host MiB b/most/after", "relay MiB b/most/after"
        )?;
        for row in &self.attacks {
            let Row { before, meanwhile, after, memory_mib: Memory { before: b, most, after: a }, .. } = row;
            let mib = |of: fn(&Resident) -> f64| {
                let after = a.as_ref().map_or("-".into(), |after| format!("{:.0}", of(after)));
                format!("{:.0} / {:.0} / {after}", of(b), of(most))
            };
            writeln!(
                f,
                "{} {:<14} {:>18}  {:>25}  {:>22}  {:>20}  {:>20}",
                if row.held { "✓" } else { "✗" },
                row.attack,
                format!("{} {}", row.efforts, row.unit),
                format!("{} of {}", meanwhile.in_time, meanwhile.requests),
                format!("{:.0} / {:.0} / {:.0}", before.p99_ms, meanwhile.p99_ms, after.p99_ms),
                mib(|resident| resident.host),
                mib(|resident| resident.relay),
            )?;
        }
        let (begin, end) = (self.begin_mib, self.end_mib);
        writeln!(
            f,
            "{} memory before the first and a minute at most after the last: host {:.0} and {:.0} MiB, relay {:.0} and {:.0} MiB",
            if end.is_back_to(begin) { "✓" } else { "✗" },
            begin.host,
            end.host,
            begin.relay,
            end.relay
        )?;
        let standstill =
            self.attacks.iter().map(|row| row.meanwhile.standstill_ms + row.after.standstill_ms).sum::<u64>();
        if standstill > 0 {
            writeln!(f, "For {standstill} ms in all the machine itself stood still; that counts against nobody.")?;
        }
        match self.held {
            true => writeln!(f, "Others were served within {} ms throughout.", self.in_time_ms),
            false => writeln!(
                f,
                "BROKEN (in time is {} ms): see the rows with ✗, docs/security.md, and `towpath logs host`.",
                self.in_time_ms
            ),
        }
    }
}
