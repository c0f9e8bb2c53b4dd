//! Timers: routes that the relay calls on a schedule, on one relay at a time, until the component accepts.
//!
//! Each timer is a row of the service's database: when it is due, and who has the turn. Whoever finds it due takes the
//! turn for the time of a lease, renews it while the call lasts, and gives it back with the next time on the schedule.
//! A fence number that grows with every turn keeps a relay that was stalled from changing anything afterwards.
//!
//! # Invariants
//!
//! 1. A call begins only while its relay has the turn, and is given up before the turn can run out: calls of one timer
//!    don't overlap. (A component that goes on with a request whose caller is gone does so beyond the relay's reach.)
//! 2. A timer that was not accepted is called again, with backoff, by whoever has the turn. A relay that can't reach its
//!    component gives the turn back, and takes none until it can.
//! 3. What was missed, because every relay was down or a call took longer than the period, is not made up for: the next
//!    time is the first one on the schedule that is still to come.
//!
//! The relay's own deletion of old rows ([`retention`]) runs by the same rules.

mod call;
mod job;
mod lease;
mod retention;

use std::sync::Arc;

use crate::relay::Relay;

/// Starts the timers of every service, and the deletion of its old rows. Waits for no server.
pub(crate) fn start(relay: &Relay) {
    for service in relay.services.values().filter(|service| service.database().is_ok()) {
        let callers = &service.lifecycle.callers;
        service.spawn(callers, "retention", retention::delete_old_rows(Arc::clone(service)));
        for timer in &service.config.timers {
            service.spawn(callers, "timer", call::keep_calling(Arc::clone(service), timer.clone()));
        }
    }
}
