//! Statements, prepared once per connection and found again by their text.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::types::Type;

use crate::postgres::codec::{Declared, Decoder, Form};

/// A prepared statement, with what is needed to fill and to read it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(super) statement: tokio_postgres::Statement,
    /// Its parameters.
    pub(crate) parameters: Vec<Form>,
    /// The names of its columns.
    pub(crate) columns: Vec<String>,
    /// Reads its rows.
    pub(crate) decoder: Decoder,
    /// What the columns take that parameters go into unchanged: index of the parameter and declaration.
    pub(crate) declared: Vec<(usize, Declared)>,
}

impl Prepared {
    /// Wraps a statement; `Err` names the first column that has no form in JSON.
    pub(super) fn new(statement: tokio_postgres::Statement) -> Result<Self, String> {
        let parameters = statement.params().iter().map(Form::of).collect();
        let forms: Vec<Form> = statement.columns().iter().map(|column| Form::of(column.type_())).collect();
        if let Some(index) = forms.iter().position(|form| *form == Form::Foreign) {
            let column = &statement.columns()[index];
            return Err(format!(
                "column {} ({:?}) is of type {}, which has no form in JSON here; cast it to text",
                index + 1,
                column.name(),
                column.type_().name()
            ));
        }
        let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        Ok(Self { statement, parameters, columns, decoder: Decoder { forms }, declared: Vec::new() })
    }

    /// Whether a parameter may go into a column that takes less than its type.
    pub(super) fn may_be_narrowed(&self) -> bool {
        self.statement.params().iter().any(|kind| {
            matches!(
                *kind,
                Type::VARCHAR
                    | Type::BPCHAR
                    | Type::NUMERIC
                    | Type::VARCHAR_ARRAY
                    | Type::BPCHAR_ARRAY
                    | Type::NUMERIC_ARRAY
            )
        })
    }
}

/// The statements of one connection, at most so many. The one that was used longest ago gives way; dropping it closes
/// it on the server.
#[derive(Debug)]
pub(super) struct Statements {
    most: usize,
    clock: u64,
    known: HashMap<Arc<str>, (u64, Arc<Prepared>)>,
}

impl Statements {
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), clock: 0, known: HashMap::new() }
    }

    pub(super) fn get(&mut self, sql: &str) -> Option<Arc<Prepared>> {
        self.clock += 1;
        let (used, prepared) = self.known.get_mut(sql)?;
        *used = self.clock;
        Some(Arc::clone(prepared))
    }

    pub(super) fn insert(&mut self, sql: &str, prepared: Arc<Prepared>) {
        if self.known.len() >= self.most
            && !self.known.contains_key(sql)
            && let Some(oldest) = self.known.iter().min_by_key(|(_, (used, _))| *used).map(|(sql, _)| Arc::clone(sql))
        {
            self.known.remove(&oldest);
        }
        self.clock += 1;
        self.known.insert(sql.into(), (self.clock, prepared));
    }

    pub(super) fn forget(&mut self, sql: &str) {
        self.known.remove(sql);
    }
}
