//! The catalogue: every way to break a stack that `towpath chaos` knows.

mod bank;
mod clock;
mod component;
mod continuity;
mod cut;
mod kafka_away;
mod kill;
mod partitions;
mod parts;
mod postgres;
mod provider;
mod redis;
mod replicas;
mod select;
mod stall;

pub(crate) use self::select::select;

use super::fault::Fault;
use super::stage::Stage;

/// Every fault, also those that this stack is not made for ([`Fault::impossible`]), in the order of the groups.
pub(crate) fn all(stage: &Stage) -> Vec<Box<dyn Fault>> {
    let mut all = kill::all(stage);
    all.extend(stall::all(stage));
    all.extend(replicas::all(stage));
    all.extend(provider::all());
    all.extend(bank::all());
    all.push(Box::new(redis::Emptied));
    all.extend(partitions::all());
    all.extend(postgres::all());
    all.extend(clock::all());
    all.extend(cut::all());
    all.push(Box::new(kafka_away::KafkaAway));
    all.extend(component::all());
    all
}
