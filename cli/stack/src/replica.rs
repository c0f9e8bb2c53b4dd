//! A stack has one or more replicas: pairs of a relay and a host, like pods. Relay 2 delivers to host 2 only, and host 2
//! calls relay 2 only. Names of the first pair have no number.

/// The largest number of pairs on one machine.
pub const MAX_REPLICAS: u8 = 8;

/// The name of a part or port in a pair: `relay`, `relay-2`, `relay-3`.
pub fn named(name: &str, pair: usize) -> String {
    match pair {
        1 => name.to_owned(),
        _ => format!("{name}-{pair}"),
    }
}
