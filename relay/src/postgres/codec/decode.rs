//! From PostgreSQL's binary format to JSON.

use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value};
use tokio_postgres::types::{FromSql, Type};
use uuid::Uuid;

use super::errors::Undecodable;
use super::form::Form;
use super::{numeric, time};

/// The bytes of a value, as they came; `None` is NULL.
pub(super) struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Reads the columns of a statement.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Their forms.
    pub(crate) forms: Vec<Form>,
}

impl Decoder {
    /// One row as JSON.
    ///
    /// # Errors
    /// Where the bytes aren't of the type that the statement named.
    pub(crate) fn row(&self, row: &tokio_postgres::Row) -> Result<Vec<Value>, Undecodable> {
        let mut values = Vec::with_capacity(self.forms.len());
        for (index, form) in self.forms.iter().enumerate() {
            let Raw(raw) = row.try_get(index).map_err(|_| Undecodable::Format("a row"))?;
            values.push(match raw {
                None => Value::Null,
                Some(bytes) => decode(form, bytes)?,
            });
        }
        Ok(values)
    }
}

fn decode(form: &Form, bytes: &[u8]) -> Result<Value, Undecodable> {
    Ok(match form {
        Form::Bool => Value::Bool(fixed::<1>(bytes, "bool")? != [0]),
        Form::Small(least, _) => small(bytes, *least)?,
        Form::Int8 => i64::from_be_bytes(fixed(bytes, "int8")?).to_string().into(),
        Form::Float4 => {
            let float = f32::from_be_bytes(fixed(bytes, "float4")?);
            // The shortest text that is this float4, and not the one of its neighbour among the float8.
            float_value(float.into(), || serde_json::to_value(float).unwrap_or_default())
        }
        Form::Float8 => {
            let float = f64::from_be_bytes(fixed(bytes, "float8")?);
            float_value(float, || Number::from_f64(float).map_or(Value::Null, Value::Number))
        }
        Form::Numeric => numeric::decode(bytes)?.into(),
        Form::Text | Form::Short(_) => text(bytes)?.into(),
        Form::Uuid => Uuid::from_bytes(fixed(bytes, "uuid")?).hyphenated().to_string().into(),
        Form::TimestampTz => time::write_timestamp(micros(bytes, "timestamptz")?, "Z").into(),
        Form::Timestamp => time::write_timestamp(micros(bytes, "timestamp")?, "").into(),
        Form::Date => time::write_date(i32::from_be_bytes(fixed(bytes, "date")?)).into(),
        Form::Time => time::write_time(micros(bytes, "time")?).into(),
        Form::TimeTz => {
            let (day, west) = parts::<8, 4>(bytes, "timetz")?;
            time::write_timetz(i64::from_be_bytes(day), i32::from_be_bytes(west)).into()
        }
        Form::Interval => {
            let (day, rest) = bytes.split_at_checked(8).ok_or(Undecodable::Format("interval"))?;
            let (days, months) = parts::<4, 4>(rest, "interval")?;
            let (days, months) = (i32::from_be_bytes(days), i32::from_be_bytes(months));
            time::write_interval(micros(day, "interval")?, days, months).into()
        }
        Form::Json => json(bytes)?,
        Form::Jsonb => match bytes.split_first() {
            Some((1, document)) => json(document)?,
            _ => return Err(Undecodable::Format("jsonb")),
        },
        Form::Bytea => STANDARD.encode(bytes).into(),
        Form::Array(element) => array(element, bytes)?,
        Form::Void => Value::Null,
        Form::Foreign => return Err(Undecodable::Format("a type with a form in JSON")),
    })
}

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], Undecodable> {
    bytes.try_into().map_err(|_| Undecodable::Format(what))
}

fn parts<const A: usize, const B: usize>(bytes: &[u8], what: &'static str) -> Result<([u8; A], [u8; B]), Undecodable> {
    let (first, second) = bytes.split_at_checked(A).ok_or(Undecodable::Format(what))?;
    Ok((fixed(first, what)?, fixed(second, what)?))
}

fn micros(bytes: &[u8], what: &'static str) -> Result<i64, Undecodable> {
    Ok(i64::from_be_bytes(fixed(bytes, what)?))
}

/// `int2` and `int4` by their length, `oid` because nothing else has no negative numbers.
fn small(bytes: &[u8], least: i64) -> Result<Value, Undecodable> {
    Ok(match bytes.len() {
        2 => i16::from_be_bytes(fixed(bytes, "int2")?).into(),
        _ if least == 0 => u32::from_be_bytes(fixed(bytes, "oid")?).into(),
        _ => i32::from_be_bytes(fixed(bytes, "int4")?).into(),
    })
}

fn float_value(float: f64, finite: impl FnOnce() -> Value) -> Value {
    if float.is_nan() {
        "NaN".into()
    } else if float.is_infinite() {
        if float > 0.0 { "Infinity".into() } else { "-Infinity".into() }
    } else {
        finite()
    }
}

fn text(bytes: &[u8]) -> Result<&str, Undecodable> {
    std::str::from_utf8(bytes).map_err(|_| Undecodable::Format("text"))
}

fn json(bytes: &[u8]) -> Result<Value, Undecodable> {
    serde_json::from_slice(bytes).map_err(|_| Undecodable::Json)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn int(&mut self) -> Result<i32, Undecodable> {
        let (head, rest) = self.0.split_at_checked(4).ok_or(Undecodable::Format("an array"))?;
        self.0 = rest;
        Ok(i32::from_be_bytes(fixed(head, "an array")?))
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(Undecodable::Format("an array"))?;
        self.0 = rest;
        Ok(head)
    }
}

fn array(form: &Form, bytes: &[u8]) -> Result<Value, Undecodable> {
    let mut reader = Reader(bytes);
    let count = reader.int()?;
    let _has_nulls = reader.int()?;
    let _element_type = reader.int()?;
    let mut lengths = Vec::new();
    for _ in 0..count {
        lengths.push(usize::try_from(reader.int()?).map_err(|_| Undecodable::Format("an array"))?);
        let _lower_bound = reader.int()?;
    }
    if lengths.is_empty() {
        return Ok(Value::Array(Vec::new()));
    }
    level(form, &lengths, &mut reader)
}

fn level(form: &Form, lengths: &[usize], reader: &mut Reader<'_>) -> Result<Value, Undecodable> {
    let Some((length, inner)) = lengths.split_first() else {
        let length = reader.int()?;
        return match usize::try_from(length) {
            Ok(length) => decode(form, reader.bytes(length)?),
            Err(_) => Ok(Value::Null),
        };
    };
    let elements: Result<_, _> = (0..*length).map(|_| level(form, inner, reader)).collect();
    Ok(Value::Array(elements?))
}
