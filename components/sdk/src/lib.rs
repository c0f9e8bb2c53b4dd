//! What every component shares.
