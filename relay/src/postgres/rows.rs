//! From values to parameters, and from rows to values.

use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt as _;
use serde_json::value::RawValue;
use tokio_postgres::RowStream;
use towpath_wire::{Code, StepResult};

use super::errors::Trouble;
use super::prepared::Prepared;
use super::session::Session;
use crate::config::Limits;
use crate::failure::Failure;
use crate::heavy;
use crate::postgres::codec::{self, Form, TextParameter, Undecodable, Unfit};

/// The parameters of a statement, each checked. Where one doesn't fit, and statements were prepared for an earlier
/// request, the statement is prepared again first: since then its column may have become wider, or of another type.
///
/// # Errors
/// `invalid_parameter`, with the parameter's number.
pub(crate) async fn encode<'a>(
    session: &mut Session,
    sql: &str,
    prepared: &Arc<Prepared>,
    values: &'a [Box<RawValue>],
) -> Result<(Arc<Prepared>, Vec<TextParameter<'a>>), Trouble> {
    session.carries(values.iter().map(|value| value.get().len()).sum());
    match heavy::aside(work(prepared, values), || encode_for(prepared, values)) {
        Ok(parameters) => Ok((Arc::clone(prepared), parameters)),
        Err(_) if session.reuses_statements() => {
            let prepared = session.prepare_again(sql).await?;
            let parameters =
                heavy::aside(work(&prepared, values), || encode_for(&prepared, values)).map_err(Trouble::Failed)?;
            Ok((prepared, parameters))
        }
        Err(failure) => Err(Trouble::Failed(failure)),
    }
}

/// So many bytes are read piece by piece: those of arrays. Documents go to PostgreSQL as they came.
fn work(prepared: &Prepared, values: &[Box<RawValue>]) -> usize {
    let with_form = values.iter().zip(&prepared.parameters);
    with_form.filter(|(_, form)| matches!(form, Form::Array(_))).map(|(value, _)| value.get().len()).sum()
}

fn encode_for<'a>(prepared: &Prepared, values: &'a [Box<RawValue>]) -> Result<Vec<TextParameter<'a>>, Failure> {
    let wanted = prepared.parameters.len();
    if wanted != values.len() {
        let detail = format!("The statement has {wanted} parameters, the request {}", values.len());
        return Err(invalid(wanted.min(values.len()), detail));
    }
    let mut parameters = Vec::with_capacity(wanted);
    for (index, (value, form)) in values.iter().zip(&prepared.parameters).enumerate() {
        let unfit = |Unfit(why)| invalid(index, format!("Parameter {}: {why}", index + 1));
        parameters.push(codec::encode(value, form).map_err(unfit)?);
        for (_, declared) in prepared.declared.iter().filter(|(parameter, _)| *parameter == index) {
            declared.check(value).map_err(unfit)?;
        }
    }
    Ok(parameters)
}

fn invalid(index: usize, detail: String) -> Failure {
    let mut failure = Failure::new(Code::InvalidParameter, detail);
    failure.problem.parameter = Some(index + 1);
    failure
}

/// Reads the rows of a statement to their end. `bytes` counts over all statements of a request.
///
/// # Errors
/// What PostgreSQL says, or a limit that was exceeded.
pub(crate) async fn collect(
    rows: RowStream,
    prepared: &Prepared,
    limits: &Limits,
    bytes: &mut usize,
) -> Result<StepResult, Trouble> {
    let mut stream = pin!(rows);
    let mut rows = Vec::new();
    while let Some(row) = stream.next().await {
        let row = row.map_err(Trouble::of)?;
        *bytes += row.raw_size_bytes();
        if rows.len() == limits.rows {
            let detail = "The statement returns more rows than a statement may";
            return Err(Trouble::Failed(Failure::limit("rows", limits.rows, detail)));
        }
        if *bytes > limits.result_bytes {
            let detail = "The statements return more than a request may";
            return Err(Trouble::Failed(Failure::limit("result_bytes", limits.result_bytes, detail)));
        }
        let decoded = heavy::aside(row.raw_size_bytes(), || prepared.decoder.row(&row));
        rows.push(decoded.map_err(unreadable)?);
    }
    let affected = stream.rows_affected().unwrap_or(rows.len() as u64);
    Ok(StepResult { affected, columns: prepared.columns.clone(), rows })
}

fn unreadable(error: Undecodable) -> Trouble {
    Trouble::Failed(match error {
        Undecodable::Json => {
            Failure::new(Code::StatementFailed, format!("The statement returns {error}; cast it to text"))
        }
        Undecodable::Format(_) => Failure::internal(error),
    })
}
