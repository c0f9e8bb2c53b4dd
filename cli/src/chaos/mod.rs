//! `towpath chaos`: breaks a running stack on purpose, from a seed that repeats, while clients place orders, and counts
//! afterwards whether every promise was kept.
//!
//! The order of things: a schedule is drawn from the seed ([`schedule`], pure); clients drive the public API and write down
//! every answer; the faults strike one after the other; everything comes to rest; then what clients were told is compared
//! with what stands in the databases, the topics and the provider's books. Nothing here trusts a log.

mod command;
mod evidence;
mod fault;
mod faults;
mod judge;
mod lines;
mod load;
mod machine;
mod quiet;
mod record;
mod replay;
mod report;
mod run;
mod schedule;
mod stage;
mod strikes;

pub(crate) use command::{Args, command};
