//! A stack has one or more pairs of a relay and a host, as there would be pods: relay 2 delivers to host 2 alone, and
//! host 2 speaks to relay 2 alone. What the first pair's are called, the others' are called with their number.

/// The largest number of pairs on one machine.
pub const MAX_REPLICAS: u8 = 8;

/// The name of a part or port in a pair: `relay`, `relay-2`, `relay-3`.
pub fn named(name: &str, pair: usize) -> String {
    match pair {
        1 => name.to_owned(),
        _ => format!("{name}-{pair}"),
    }
}
