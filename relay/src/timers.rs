//! Timers: routes of the component that the relay calls on a schedule, on one relay at a time, until the component accepts.
//!
//! Each timer is a row of the service's database: when it is due, and which relay has the turn. A relay that finds it due takes
//! the turn under a lease, renews the lease during the call, and returns the turn with the next time on the schedule. A fencing
//! number that grows with every turn keeps a relay that was stalled from changing anything afterwards. Leases don't depend on the
//! database's clock ([`lease`]); a watchdog ([`crate::watchdog`]) looks whether a timer is due and nobody calls it ([`look`]).
//!
//! # Invariants
//!
//! 1. A call begins only while its relay has the turn, and is cut off before the lease can run out: calls of one timer don't
//!    overlap. (A component that goes on with a request whose caller is gone is beyond the relay's reach.)
//! 2. A timer that the component didn't accept is called again, with back-off, by the relay that has the turn. A relay that
//!    can't reach its component returns the turn, and takes none until it can.
//! 3. Times that were missed, because every relay was down or a call took longer than the period, are skipped: the next call
//!    is at the first time on the schedule that is still to come.
//!
//! The relay deletes old rows ([`retention`]) by the same rules.

mod call;
mod job;
mod lease;
mod look;
pub(crate) mod retention;

use std::sync::Arc;

use crate::relay::Relay;

/// Starts the timers of every service, and the deletion of its old rows. Waits for no server.
pub(crate) fn start(relay: &Relay) {
    for service in relay.services.values().filter(|service| service.database().is_ok()) {
        let callers = &service.lifecycle.callers;
        for table in retention::Table::ALL {
            service.spawn(callers, "retention", retention::delete_old_rows(Arc::clone(service), table));
        }
        for timer in &service.config.timers {
            service.spawn(callers, "timer", call::keep_calling(Arc::clone(service), timer.clone()));
        }
    }
}
