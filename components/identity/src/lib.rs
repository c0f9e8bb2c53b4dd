#![doc = include_str!("../README.md")]

mod claims;
mod issuers;
mod keys;
mod refusal;
mod token;

pub use issuers::{Issuer, Issuers, MAX_ISSUERS};
pub use keys::{Keys, MAX_KEYS, MAX_KEYS_BYTES, MAX_KID_BYTES};
pub use refusal::Refusal;
pub use token::{LEEWAY_SECONDS, MAX_TOKEN_BYTES, Token, Verified};
