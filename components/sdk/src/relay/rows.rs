//! Typed access to rows, without loss: the relay sends an `int8` as a string, which becomes an `i64`.

use serde_json::Value;
use towpath_wire::{QueryResponse, StepResult};

use super::RelayError;
use crate::{Currency, Id, Time};

/// The rows of a query or a step.
///
/// ```
/// use serde_json::json;
/// use towpath_sdk::{Rows, wire::QueryResponse};
///
/// let columns = vec!["sku".into(), "on_hand".into()];
/// let rows = vec![vec![json!("A"), json!("9007199254740993")]];
/// let rows = Rows::from(QueryResponse { columns, rows, ..QueryResponse::default() });
/// let stock = rows.map(|row| Ok::<_, towpath_sdk::RelayError>((row.get::<String>("sku")?, row.get::<i64>("on_hand")?)));
/// assert_eq!(stock, Ok(vec![("A".to_owned(), 9_007_199_254_740_993)]));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    affected: u64,
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
    timed_out: bool,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

/// A type that a column's value can be read as.
pub trait FromColumn: Sized {
    /// `None` if the value is of another type.
    fn from_column(value: &Value) -> Option<Self>;
}

impl Rows {
    /// How many rows a step touched, or a query returned.
    #[must_use]
    pub fn affected(&self) -> u64 {
        self.affected
    }

    /// How many rows came back.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the query waited until its timeout.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// The first row.
    #[must_use]
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// Each row.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    /// What `read` makes of each row.
    ///
    /// # Errors
    /// The first error of `read`.
    pub fn map<T, E>(&self, read: impl FnMut(Row<'_>) -> Result<T, E>) -> Result<Vec<T>, E> {
        self.iter().map(read).collect()
    }
}

impl Row<'_> {
    /// The value of a column.
    ///
    /// # Errors
    /// If there is no such column, or its value isn't of this type: a bug in the SQL.
    pub fn get<T: FromColumn>(&self, column: &str) -> Result<T, RelayError> {
        let at = self.columns.iter().position(|name| name == column);
        let value = at.and_then(|at| self.values.get(at));
        let value = value.ok_or_else(|| RelayError::Malformed(format!("there is no column {column}")))?;
        T::from_column(value).ok_or_else(|| RelayError::Malformed(format!("the column {column} is of another type")))
    }
}

impl From<QueryResponse> for Rows {
    fn from(response: QueryResponse) -> Self {
        let QueryResponse { columns, rows, timed_out, .. } = response;
        Self { affected: rows.len() as u64, columns, rows, timed_out }
    }
}

impl From<StepResult> for Rows {
    fn from(result: StepResult) -> Self {
        Self { affected: result.affected, columns: result.columns, rows: result.rows, timed_out: false }
    }
}

impl FromColumn for Value {
    fn from_column(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_column(value: &Value) -> Option<Self> {
        if value.is_null() { Some(None) } else { T::from_column(value).map(Some) }
    }
}

impl FromColumn for String {
    fn from_column(value: &Value) -> Option<Self> {
        value.as_str().map(Self::from)
    }
}

impl FromColumn for bool {
    fn from_column(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromColumn for i64 {
    fn from_column(value: &Value) -> Option<Self> {
        value.as_str().map_or_else(|| value.as_i64(), |text| text.parse().ok())
    }
}

impl FromColumn for i32 {
    fn from_column(value: &Value) -> Option<Self> {
        i64::from_column(value)?.try_into().ok()
    }
}

impl FromColumn for Id {
    fn from_column(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl FromColumn for Time {
    fn from_column(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl FromColumn for Currency {
    fn from_column(value: &Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn rows(values: Vec<Value>) -> Rows {
        let columns = (0..values.len()).map(|i| format!("c{i}")).collect();
        Rows::from(QueryResponse { columns, rows: vec![values], ..QueryResponse::default() })
    }

    #[test]
    fn columns_become_what_they_are() {
        let id = Id::new();
        let rows = rows(vec![json!("7"), json!(7), json!(null), json!(id.to_string()), json!("2026-08-01T12:00:00Z")]);
        let row = rows.first().expect("a row");
        assert_eq!((row.get("c0"), row.get("c1")), (Ok(7_i64), Ok(7_i32)));
        assert_eq!((row.get("c2"), row.get("c0")), (Ok(None::<i64>), Ok(Some(7_i64))));
        assert_eq!((row.get("c3"), row.get::<Time>("c4").map(|time| time.to_string())), {
            (Ok(id), Ok("2026-08-01T12:00:00Z".into()))
        });
        assert!(row.get::<i64>("c2").is_err() && row.get::<i64>("c9").is_err() && row.get::<bool>("c0").is_err());
    }

    proptest! {
        #[test]
        fn an_int8_passes_without_loss(number: i64) {
            let rows = rows(vec![json!(number.to_string())]);
            prop_assert_eq!(rows.first().map(|row| row.get("c0")), Some(Ok(number)));
        }
    }
}
