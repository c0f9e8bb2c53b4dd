//! The units of work that move an order's reservation: the SQL and the events of each action of the domain.

use towpath_sdk::{Id, Problem, UnitOfWork};

use crate::{
    domain::{Action, Demand, State, demand},
    events::{self, Placed},
    store,
};

/// An order that an event is about.
#[derive(Clone, Debug)]
pub struct Order {
    id: Id,
    /// What was ordered; known with [`News::Placed`](crate::domain::News::Placed) alone.
    placed: Option<(Demand, Placed)>,
}

impl Order {
    /// An order that was placed.
    ///
    /// # Errors
    /// 422 `malformed_event`, as [`demand`].
    pub fn placed(placed: Placed) -> Result<Self, Problem> {
        Ok(Self { id: placed.order_id, placed: Some((demand(&placed.lines)?, placed)) })
    }

    /// An order that another event is about.
    #[must_use]
    pub fn known(id: Id) -> Self {
        Self { id, placed: None }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> Id {
        self.id
    }

    /// The unit of work that carries an action out; `None` if there is nothing to do.
    #[must_use]
    pub fn unit(&self, unit: UnitOfWork, from: Option<State>, action: Action) -> Option<UnitOfWork> {
        let go = |to| store::go(unit, self.id, from, to);
        Some(match (action, &self.placed) {
            (Action::Reserve, Some((demand, placed))) => {
                store::reserve(go(State::Reserved), self.id, demand).event(events::reserved(placed, demand))
            }
            // No event: the order is confirmed already, and needs no reservation.
            (Action::SellUnreserved, Some((demand, _))) => store::sell_unreserved(go(State::Sold), self.id, demand),
            (Action::Sell, _) => store::sell(go(State::Sold), self.id),
            (Action::Release, _) => store::release(go(State::Released), self.id).event(events::released(self.id)),
            (Action::Return, _) => store::take_back(go(State::Returned), self.id).event(events::released(self.id)),
            (Action::Remember(state), _) => go(state),
            (Action::Ignore | Action::Reserve | Action::SellUnreserved, _) => return None,
        })
    }

    /// The unit of work that rejects the order: there is too little stock.
    pub fn reject(&self, unit: UnitOfWork, from: Option<State>) -> UnitOfWork {
        store::go(unit, self.id, from, State::Rejected).event(events::rejected(self.id))
    }
}

#[cfg(test)]
mod tests;
