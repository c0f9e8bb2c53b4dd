//! Looks up how the columns are declared that a statement's parameters go into.

use std::collections::HashMap;

use tokio_postgres::{Client, Error};

use super::prepared::Prepared;
use crate::postgres::codec::{Declared, Form};
use crate::postgres::statement::{Assignment, Column, assignments};

const COLUMNS: &str = "SELECT attname::text, atttypmod FROM pg_catalog.pg_attribute \
    WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// What the columns take that the parameters of `sql` go into. A table that can't be found declares nothing: then the
/// statement fails by itself.
pub(super) async fn look_up(client: &Client, sql: &str, prepared: &Prepared) -> Result<Vec<(usize, Declared)>, Error> {
    let mut tables: HashMap<Vec<String>, Vec<(String, i32)>> = HashMap::new();
    let mut found = Vec::new();
    for Assignment { parameter, table, column } in assignments(sql) {
        let Some(form) = parameter.checked_sub(1).and_then(|index| prepared.parameters.get(index)) else { continue };
        if !narrows(form) {
            continue;
        }
        if !tables.contains_key(&table) {
            let columns = columns_of(client, &table).await?;
            tables.insert(table.clone(), columns);
        }
        let columns = &tables[&table];
        let modifier = match &column {
            Column::Named(name) => columns.iter().find(|(column, _)| column == name),
            Column::Numbered(number) => columns.get(number - 1),
        };
        if let Some(declared) = modifier.and_then(|(_, modifier)| Declared::of(form, *modifier)) {
            found.push((parameter - 1, declared));
        }
    }
    Ok(found)
}

fn narrows(form: &Form) -> bool {
    match form {
        Form::Text | Form::Numeric => true,
        Form::Array(element) => narrows(element),
        _ => false,
    }
}

async fn columns_of(client: &Client, table: &[String]) -> Result<Vec<(String, i32)>, Error> {
    let name: Vec<String> = table.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    let rows = client.query(COLUMNS, &[&name.join(".")]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
