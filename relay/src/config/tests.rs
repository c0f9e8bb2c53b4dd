//! Faults and defaults of configurations.
