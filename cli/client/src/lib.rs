#![doc = include_str!("../README.md")]

mod answer;
mod client;
mod requests;
mod types;

pub use answer::{Answer, ApiError};
pub use client::{Call, Client};
pub use requests::{NewLine, NewOrder, NewProduct};
pub use types::{
    HistoryEntry, Line, Money, Order, Page, Payment, PaymentCase, Problem, Product, Stock, WrongField, is_end_state,
};
