//! Records of both sides, spread over files by the name of their intent, so that memory holds one file's at a time.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::record::{Intent, Payment, Refund};

/// How many files: a million payments are some ten thousand in each.
pub(super) const PARTS: usize = 128;

/// One record of either side.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Record {
    Payment(Payment),
    Intent(Intent),
    Refund(Refund),
}

/// All that names one intent. More than one payment is a fault.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) payments: Vec<Payment>,
    pub(super) intent: Option<Intent>,
    pub(super) refunds: Vec<Refund>,
}

/// How many records there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) payments: u64,
    pub(super) intents: u64,
    pub(super) refunds: u64,
}

impl Counts {
    pub(super) fn is_empty(self) -> bool {
        self.payments + self.intents + self.refunds == 0
    }
}

/// The files. They go with this.
pub(super) struct Spill {
    folder: TempDir,
    files: Vec<BufWriter<File>>,
    counts: Counts,
}

impl Spill {
    pub(super) fn create(folder: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("audit-").tempdir_in(folder);
        let folder = folder.context("cannot make a folder for what is compared")?;
        let files = (0..PARTS).map(|part| Ok(BufWriter::new(File::create(folder.path().join(part.to_string()))?)));
        let files = files.collect::<Result<_>>().context("cannot make the files for what is compared")?;
        Ok(Self { folder, files, counts: Counts::default() })
    }

    /// Adds a record that names this intent.
    pub(super) fn add(&mut self, intent: &str, record: &Record) -> Result<()> {
        let count = match record {
            Record::Payment(_) => &mut self.counts.payments,
            Record::Intent(_) => &mut self.counts.intents,
            Record::Refund(_) => &mut self.counts.refunds,
        };
        *count += 1;
        let mut hasher = DefaultHasher::new();
        intent.hash(&mut hasher);
        let part = usize::try_from(hasher.finish() % PARTS as u64)?;
        let mut line = serde_json::to_vec(&(intent, record))?;
        line.push(b'\n');
        self.files[part].write_all(&line).context("cannot keep what is compared: is the disk full?")
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The records of one file, by the intent that they name.
    pub(super) fn read(&mut self, part: usize) -> Result<HashMap<String, Group>> {
        self.files[part].flush().context("cannot keep what is compared: is the disk full?")?;
        let mut groups: HashMap<String, Group> = HashMap::new();
        for line in BufReader::new(File::open(self.folder.path().join(part.to_string()))?).lines() {
            let (intent, record): (String, Record) = serde_json::from_str(&line?)?;
            let group = groups.entry(intent).or_default();
            match record {
                Record::Payment(payment) => group.payments.push(payment),
                Record::Intent(intent) => group.intent = Some(intent),
                Record::Refund(refund) => group.refunds.push(refund),
            }
        }
        Ok(groups)
    }
}
