//! A typed client of the public API, for what drives a stack from outside: the black-box tests, the benchmark, the seed.
//!
//! It decides nothing: an answer of any status is an [`Answer`], because to a test a refusal is a result like any other.
//! Who wants one status only says so with [`Answer::expect`], and the error then shows the call and the whole body.

mod answer;
mod client;
mod requests;
mod types;

pub use answer::{Answer, ApiError};
pub use client::{Call, Client};
pub use requests::{NewLine, NewOrder, NewProduct};
pub use types::{HistoryEntry, Line, Money, Order, Page, Payment, Problem, Product, Stock, WrongField, is_end_state};
