//! Everything that clients saw. The record only grows, and is read after the load has ended, so that no answer gets lost on
//! its way to the judge.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::service::Service;

/// A call of the public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Call {
    /// Places an order under a key.
    Place,
    /// Asks to cancel an order.
    Cancel,
    /// Changes stock under a key.
    Adjust,
    /// Reads an order.
    Order,
    /// Reads what happened to an order.
    History,
    /// Lists a customer's orders.
    Orders,
    /// Lists the payments of an order.
    Payments,
    /// Reads the stock of a SKU.
    Stock,
    /// Reads a product.
    Product,
}

impl Call {
    /// The service without whose database it can't be answered.
    pub(crate) fn needs(self) -> Service {
        match self {
            Self::Place | Self::Cancel | Self::Order | Self::History | Self::Orders => Service::Order,
            Self::Payments => Service::Payment,
            Self::Adjust | Self::Stock => Service::Inventory,
            Self::Product => Service::Product,
        }
    }

    /// In words, for a person.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Place => "placing an order",
            Self::Cancel => "cancelling an order",
            Self::Adjust => "adjusting stock",
            Self::Order => "reading an order",
            Self::History => "reading an order's history",
            Self::Orders => "listing orders",
            Self::Payments => "listing payments",
            Self::Stock => "reading stock",
            Self::Product => "reading a product",
        }
    }
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// An answer, whole.
    Answered(Reply),
    /// None, or only a part of one.
    Silent {
        /// What happened on the way.
        why: String,
        /// Whether nothing listened there.
        unreached: bool,
    },
}

/// What a client looks at in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The code of the problem, where it is one.
    pub(crate) code: Option<String>,
    /// When to come back.
    pub(crate) retry_after_s: Option<u64>,
    /// The order in it.
    pub(crate) order: Option<Uuid>,
    /// Whether it is said to be the first answer once more.
    pub(crate) replayed: bool,
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether another request with the same key is being worked on.
    pub(crate) fn is_in_flight(&self) -> bool {
        self.status == 409 && self.code.as_deref() == Some("idempotency_key_in_flight")
    }
}

/// One call, and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When it was sent, from the beginning of the run.
    pub(crate) at: Duration,
    /// How long it took until its answer, or until there could be none.
    pub(crate) took: Duration,
    pub(crate) call: Call,
    /// The idempotency key that it was sent with.
    pub(crate) key: Option<String>,
    /// What it was about: an order, a SKU, a customer.
    pub(crate) about: String,
    /// Which replica of the edge it was sent to; 1 is the first.
    pub(crate) replica: usize,
    /// How long it asked to wait.
    pub(crate) wait: Duration,
    /// The how-manieth try it was; 1 is the first.
    pub(crate) attempt: usize,
    pub(crate) outcome: Outcome,
}

impl Seen {
    /// When its answer came.
    pub(crate) fn ended(&self) -> Duration {
        self.at + self.took
    }

    pub(crate) fn reply(&self) -> Option<&Reply> {
        match &self.outcome {
            Outcome::Answered(reply) => Some(reply),
            Outcome::Silent { .. } => None,
        }
    }

    pub(crate) fn is_success(&self) -> bool {
        self.reply().is_some_and(Reply::is_success)
    }

    /// By what the report counts it.
    pub(crate) fn status(&self) -> String {
        self.reply().map_or_else(|| "no answer".into(), |reply| reply.status.to_string())
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, took, call, about, replica, .. } = self;
        let (at, took) = (at.as_secs_f64(), took.as_secs_f64());
        write!(f, "at {at:.1} s, {} ({about}) at replica {replica}: ", call.words())?;
        match &self.outcome {
            Outcome::Answered(reply) => {
                write!(f, "{}", reply.status)?;
                if let Some(code) = &reply.code {
                    write!(f, " {code}")?;
                }
            }
            Outcome::Silent { why, .. } => write!(f, "no answer ({why})")?,
        }
        write!(f, " after {took:.2} s")
    }
}

/// What a machine may keep those waiting for who work on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// This program itself was not given it.
    Processor,
    Disk,
}

/// A moment in which the machine itself stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lag {
    /// What there was none of.
    pub(crate) of: Resource,
    /// When it ended, from the beginning of the run.
    pub(crate) at: Duration,
    /// How long it lasted.
    pub(crate) late: Duration,
}

/// The record of one run.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    seen: Mutex<Vec<Seen>>,
    lags: Mutex<Vec<Lag>>,
    unsent: AtomicUsize,
    given_up: AtomicUsize,
}

/// What the record holds at the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    /// In the order in which the calls ended.
    pub(crate) seen: Vec<Seen>,
    /// When the machine itself stood still.
    pub(crate) lags: Vec<Lag>,
    /// Orders that were not placed as too many were under way.
    pub(crate) unsent: usize,
    /// Calls that still had no answer when the run ended.
    pub(crate) given_up: usize,
}

impl Witness {
    /// How much of the time between these two moments the machine itself stood still.
    pub(crate) fn lag_within(&self, from: Duration, to: Duration) -> Duration {
        let within = |lag: &Lag| lag.at.min(to).saturating_sub(lag.at.saturating_sub(lag.late).max(from));
        let of = |resource| self.lags.iter().filter(|lag| lag.of == resource).map(within).sum();
        // Who gets no processor sees the disk as slow too: the same time isn't counted twice.
        Duration::max(of(Resource::Processor), of(Resource::Disk))
    }

    /// The longest time for which this was missing.
    pub(crate) fn longest(&self, of: Resource) -> Duration {
        self.lags.iter().filter(|lag| lag.of == of).map(|lag| lag.late).max().unwrap_or_default()
    }
}

impl Record {
    /// An empty record of a run that begins now.
    pub(crate) fn begin() -> Self {
        let (seen, lags) = (Mutex::default(), Mutex::default());
        Self { began: Instant::now(), seen, lags, unsent: AtomicUsize::new(0), given_up: AtomicUsize::new(0) }
    }

    /// How long the run has been going on.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn saw(&self, seen: Seen) {
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(seen);
    }

    /// Until now there was none of this, for so long.
    pub(crate) fn lacked(&self, of: Resource, late: Duration) {
        let lag = Lag { of, at: self.now(), late };
        self.lags.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(lag);
    }

    pub(crate) fn could_not_send(&self) {
        self.unsent.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn gave_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it.
    pub(crate) fn witness(&self) -> Witness {
        Witness {
            seen: self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            lags: self.lags.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            unsent: self.unsent.load(Ordering::Relaxed),
            given_up: self.given_up.load(Ordering::Relaxed),
        }
    }
}
