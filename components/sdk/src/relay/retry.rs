//! When the SDK repeats a call to the relay, and its back-off.
//!
//! It doubles its pause as `relay/src/backoff.rs` does its waits, which it can't use: components don't depend on the relay.

use std::time::Duration;

use towpath_wire::Code;

use super::RelayError;

const FIRST_PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// The most tries if the relay is not reachable: enough for a restart, and few enough for an early 503.
const MAX_TRIES_WITHOUT_RELAY: u32 = 3;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    GiveUp,
    RepeatIn(Duration),
}

/// What to do after `error` in attempt number `attempt` (from 0), with this much of the budget left.
///
/// Invariant: a call that may have had its effect is repeated only if that changes nothing (`repeatable`).
pub(crate) fn after(error: &RelayError, repeatable: bool, attempt: u32, left: Duration) -> Next {
    let worth_it = match error {
        RelayError::NotReached(_) => attempt + 1 < MAX_TRIES_WITHOUT_RELAY,
        RelayError::Interrupted(_) => repeatable,
        RelayError::Malformed(_) | RelayError::Misconfigured(_) => false,
        RelayError::Refused(refusal) => match refusal.code {
            Code::ShuttingDown => attempt + 1 < MAX_TRIES_WITHOUT_RELAY,
            Code::OutcomeUnknown => repeatable,
            // The first request with this key is about to finish; a repetition gets its answer.
            Code::IdempotencyInFlight => true,
            _ => false,
        },
    };
    let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(8)).min(MAX_PAUSE);
    if worth_it && pause < left { Next::RepeatIn(pause) } else { Next::GiveUp }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_wire::Problem;

    use super::*;

    fn refused(code: Code) -> RelayError {
        RelayError::Refused(Box::new(Problem::new(code, "why")))
    }

    fn any_error() -> impl Strategy<Value = RelayError> {
        prop_oneof![
            Just(RelayError::NotReached("refused".into())),
            Just(RelayError::Interrupted("reset".into())),
            Just(RelayError::Malformed("html".into())),
            Just(RelayError::Misconfigured("unauthorized".into())),
            prop::sample::select(Code::ALL).prop_map(refused),
        ]
    }

    #[test]
    fn an_unknown_outcome_is_found_out_under_a_key() {
        let second = Duration::from_secs(1);
        for unknown in [refused(Code::OutcomeUnknown), RelayError::Interrupted("reset".into())] {
            assert_eq!(after(&unknown, true, 0, second), Next::RepeatIn(FIRST_PAUSE));
            assert_eq!(after(&unknown, false, 0, second), Next::GiveUp);
        }
    }

    #[test]
    fn a_relay_that_stays_away_is_given_up_early() {
        let away = RelayError::NotReached("refused".into());
        let next: Vec<_> = (0..4).map(|attempt| after(&away, false, attempt, Duration::from_secs(60))).collect();
        assert_eq!(next.iter().filter(|&next| *next != Next::GiveUp).count(), 2);
    }

    proptest! {
        #[test]
        fn it_ends_within_its_budget(error in any_error(), repeatable: bool) {
            let mut left = Duration::from_millis(1_800);
            for attempt in 0.. {
                match after(&error, repeatable, attempt, left) {
                    Next::GiveUp => break,
                    Next::RepeatIn(pause) => {
                        prop_assert!(pause >= FIRST_PAUSE && pause <= MAX_PAUSE && pause < left);
                        left -= pause;
                    }
                }
            }
        }

        #[test]
        fn nothing_that_may_have_happened_happens_twice(error in any_error(), attempt in 0_u32..100) {
            if error.is_outcome_unknown() {
                prop_assert_eq!(after(&error, false, attempt, Duration::from_secs(60)), Next::GiveUp);
            }
        }
    }
}
