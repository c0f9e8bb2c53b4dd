//! Holds the rules of ARCHITECTURE.md that no compiler holds. Everything is in `tests/`: `cargo test -p towpath-rules`
//! needs no server, no component, and some seconds.
