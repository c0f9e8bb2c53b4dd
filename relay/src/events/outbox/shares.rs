//! Which publisher holds which shards. Pure rules.
//!
//! All relays compute the same shares from the same publishers, so they agree without talking: the shards divided by the
//! living publishers, one more for the first of them (by id) while there is a remainder. A publisher releases shards beyond its
//! share and takes free ones up to it. The shards of a dead publisher are free once it was retired, which any relay does.

use std::collections::BTreeSet;

use crate::shards;

/// How many shards there are.
const SHARDS: usize = shards::SHARDS as usize;

/// A shard, as the database says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) shard: i16,
    pub(super) holder: Option<String>,
    pub(super) fence: i64,
}

/// What a publisher does next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Free shards that are within its share.
    pub(super) take: Vec<i16>,
    /// Its shards that are beyond its share.
    pub(super) release: Vec<i16>,
    /// Holders that don't renew their leases: to be retired.
    pub(super) dead: BTreeSet<String>,
}

/// The plan of `me`. `living` are the publishers that renew their leases, `expired` those that are known and don't.
pub(super) fn plan(me: &str, living: &BTreeSet<String>, expired: &BTreeSet<String>, leases: &[Lease]) -> Plan {
    let mut living = living.clone();
    living.insert(me.to_owned());
    let share = share(me, &living);
    let holders = leases.iter().filter_map(|lease| lease.holder.as_ref());
    let unknown = holders.filter(|holder| !living.contains(*holder)).cloned();
    let dead = unknown.chain(expired.iter().filter(|id| !living.contains(*id)).cloned()).collect();
    let mine = leases.iter().filter(|lease| lease.holder.as_deref() == Some(me)).map(|lease| lease.shard);
    let free = leases.iter().filter(|lease| lease.holder.is_none()).map(|lease| lease.shard);
    Plan {
        take: free.take(share.saturating_sub(mine.clone().count())).collect(),
        release: mine.skip(share).collect(),
        dead,
    }
}

fn share(me: &str, living: &BTreeSet<String>) -> usize {
    let rank = living.iter().take_while(|id| id.as_str() < me).count();
    SHARDS / living.len() + usize::from(rank < SHARDS % living.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: usize) -> String {
        format!("p{n:02}")
    }

    fn leases(holders: &[Option<usize>]) -> Vec<Lease> {
        let lease =
            |(shard, holder): (usize, &Option<usize>)| Lease { shard: shard as i16, holder: holder.map(id), fence: 0 };
        holders.iter().enumerate().map(lease).collect()
    }

    fn all(range: std::ops::Range<usize>) -> BTreeSet<String> {
        range.map(id).collect()
    }

    #[test]
    fn one_takes_all() {
        let plan = plan("p00", &BTreeSet::new(), &BTreeSet::new(), &leases(&[None; SHARDS]));
        assert_eq!(plan.take, (0..SHARDS as i16).collect::<Vec<_>>());
        assert_eq!((plan.release, plan.dead), (vec![], BTreeSet::new()));
    }

    #[test]
    fn a_newcomer_gets_its_half_once_it_was_given_up() {
        let held = leases(&[Some(0); SHARDS]);
        let first = plan("p00", &all(0..2), &BTreeSet::new(), &held);
        assert_eq!((first.take.len(), first.release.len()), (0, 8));
        let second = plan("p01", &all(0..2), &BTreeSet::new(), &held);
        assert_eq!(second, Plan::default());
    }

    #[test]
    fn what_a_dead_one_holds_is_taken_only_after_it_was_retired() {
        let plan = plan("p00", &all(0..1), &all(1..2), &leases(&[Some(1); SHARDS]));
        assert_eq!((plan.take, plan.release), (vec![], vec![]));
        assert_eq!(plan.dead, all(1..2));
    }

    #[test]
    fn a_holder_that_nobody_knows_is_dead() {
        let plan = plan("p00", &all(0..1), &BTreeSet::new(), &leases(&[Some(7); SHARDS]));
        assert_eq!(plan.dead, all(7..8));
    }

    proptest! {
        /// From any distribution: once every publisher has followed its plan for two rounds, each shard has a living holder,
        /// no publisher has more than its share, and no shard moves any more.
        #[test]
        fn all_shards_are_held_and_evenly(
            living in 1usize..20,
            holders in proptest::collection::vec(proptest::option::of(0usize..24), SHARDS),
        ) {
            let alive = all(0..living);
            let expired = all(living..24);
            let mut leases = leases(&holders);
            for _ in 0..2 {
                for n in 0..living {
                    let plan = plan(&id(n), &alive, &expired, &leases);
                    prop_assert!(plan.dead.is_disjoint(&alive));
                    for lease in &mut leases {
                        if lease.holder.as_ref().is_some_and(|holder| plan.dead.contains(holder)) {
                            lease.holder = None;
                        }
                        if plan.release.contains(&lease.shard) {
                            prop_assert_eq!(lease.holder.take(), Some(id(n)));
                        }
                        if plan.take.contains(&lease.shard) {
                            prop_assert_eq!(lease.holder.replace(id(n)), None);
                        }
                    }
                }
            }
            for n in 0..living {
                let plan = plan(&id(n), &alive, &expired, &leases);
                prop_assert_eq!((plan.take, plan.release), (vec![], vec![]));
                let held = leases.iter().filter(|lease| lease.holder.as_ref() == Some(&id(n))).count();
                prop_assert!(held == SHARDS / living || held == SHARDS / living + 1);
            }
            prop_assert!(leases.iter().all(|lease| lease.holder.is_some()));
        }
    }
}
