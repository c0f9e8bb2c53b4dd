//! From JSON to PostgreSQL's text format.

use std::borrow::Cow;
use std::error::Error;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use serde_json::value::RawValue;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::errors::{Unfit, unfit};
use super::form::Form;
use super::json::{Json, each, is_null};
use super::{numeric, time};

/// A parameter in PostgreSQL's text format; `None` is NULL.
#[derive(Debug)]
pub struct TextParameter<'a>(Option<Cow<'a, str>>);

impl<'a> TextParameter<'a> {
    /// NULL.
    pub const NULL: TextParameter<'static> = TextParameter(None);

    /// A value in PostgreSQL's text format.
    #[must_use]
    pub fn text(text: &'a str) -> Self {
        Self(Some(Cow::Borrowed(text)))
    }
}

impl ToSql for TextParameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.put_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A value as a parameter of this form.
///
/// # Errors
/// Why the value doesn't fit.
pub fn encode<'a>(value: &'a RawValue, form: &Form) -> Result<TextParameter<'a>, Unfit> {
    if is_null(value) {
        return Ok(TextParameter::NULL);
    }
    let text = scalar(value, form)?;
    if text.contains('\0') {
        return unfit("PostgreSQL's strings can't hold U+0000");
    }
    Ok(TextParameter(Some(text)))
}

fn scalar<'a>(value: &'a RawValue, form: &Form) -> Result<Cow<'a, str>, Unfit> {
    Ok(match form {
        Form::Bool => match Json::of(value)? {
            Json::Bool(true) => "t".into(),
            Json::Bool(false) => "f".into(),
            other => return wanted("true or false", &other),
        },
        Form::Small(least, most) => integer(value, *least, *most)?,
        Form::Int8 => integer(value, i64::MIN, i64::MAX)?,
        Form::Float4 => float(value, |text| text.parse::<f32>().ok().map(f64::from))?,
        Form::Float8 => float(value, |text| text.parse::<f64>().ok())?,
        Form::Numeric => {
            let text = number_text(value, "a number or its digits in a string")?;
            numeric::check(&text)?;
            text
        }
        Form::Text => string(value)?,
        Form::Short(most) => {
            let text = string(value)?;
            short(&text, *most)?;
            text
        }
        Form::Uuid => uuid(&string(value)?)?.into(),
        Form::TimestampTz => time::timestamptz(&string(value)?)?.into(),
        Form::Timestamp => time::timestamp(&string(value)?)?.into(),
        Form::Date => time::date(&string(value)?)?.into(),
        Form::Time => time::time(&string(value)?)?.into(),
        Form::TimeTz => time::timetz(&string(value)?)?.into(),
        Form::Json | Form::Jsonb => value.get().into(),
        Form::Bytea => bytea(&string(value)?)?.into(),
        // Text that PostgreSQL itself reads, and refuses by the parameter's number where it can't.
        Form::Interval | Form::Foreign => string(value)?,
        Form::Void => return unfit("a parameter can't be of type void"),
        Form::Array(element) => array(value, element)?.into(),
    })
}

fn wanted<T>(what: &str, value: &Json<'_>) -> Result<T, Unfit> {
    unfit(format!("expected {what}, got {}", value.kind()))
}

fn string(value: &RawValue) -> Result<Cow<'_, str>, Unfit> {
    match Json::of(value)? {
        Json::String(text) => Ok(text),
        other => wanted("a string", &other),
    }
}

/// The text of a JSON number, or of a number in a string.
fn number_text<'a>(value: &'a RawValue, what: &str) -> Result<Cow<'a, str>, Unfit> {
    match Json::of(value)? {
        Json::Number(text) => Ok(text.into()),
        Json::String(text) => Ok(text),
        other => wanted(what, &other),
    }
}

fn integer(value: &RawValue, least: i64, most: i64) -> Result<Cow<'_, str>, Unfit> {
    let text = number_text(value, "a whole number")?;
    let digits = text.strip_prefix(['-', '+']).unwrap_or(&text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return unfit("expected a whole number, without fraction or exponent");
    }
    match text.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(text),
        _ => unfit(format!("the number is out of range: {least} to {most}")),
    }
}

fn float(value: &RawValue, parse: impl Fn(&str) -> Option<f64>) -> Result<Cow<'_, str>, Unfit> {
    let text = number_text(value, "a number")?;
    if matches!(&*text, "NaN" | "Infinity" | "-Infinity") {
        return Ok(text);
    }
    let (mantissa, _) = numeric::split(&text)?;
    match parse(&text) {
        Some(float) if float.is_infinite() => unfit("the number is too large for its type"),
        Some(float) if float == 0.0 && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')) => {
            unfit("the number is too close to zero for its type")
        }
        Some(_) => Ok(text),
        None => unfit("expected a number"),
    }
}

fn short(text: &str, most: usize) -> Result<&str, Unfit> {
    if text.len() > most { unfit(format!("the type takes {most} bytes at most")) } else { Ok(text) }
}

fn uuid(text: &str) -> Result<String, Unfit> {
    match Uuid::try_parse(text) {
        Ok(uuid) => Ok(uuid.hyphenated().to_string()),
        Err(_) => unfit("expected a UUID"),
    }
}

fn bytea(text: &str) -> Result<String, Unfit> {
    let bytes = STANDARD.decode(text).map_err(|_| Unfit("expected base64 (RFC 4648, with padding)".into()))?;
    let mut hex = String::with_capacity(2 + bytes.len() * 2);
    hex.push_str("\\x");
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(digit.into(), 16).unwrap_or_default());
        }
    }
    Ok(hex)
}

/// An array literal. Nested arrays are further dimensions, except in arrays of JSON, where they are elements.
fn array(value: &RawValue, element: &Form) -> Result<String, Unfit> {
    let mut text = String::new();
    let nested = !matches!(element, Form::Json | Form::Jsonb);
    array_level(value, element, nested, 0, &mut text)?;
    Ok(text)
}

/// PostgreSQL's arrays have 6 dimensions at most.
const MAX_DIMENSIONS: usize = 6;

/// Writes one level and answers its dimensions, from the outside in.
fn array_level(
    value: &RawValue,
    form: &Form,
    nested: bool,
    depth: usize,
    out: &mut String,
) -> Result<Vec<usize>, Unfit> {
    let Json::Array(elements) = Json::of(value)? else { return wanted("an array", &Json::of(value)?) };
    if depth == MAX_DIMENSIONS {
        return unfit("an array has 6 dimensions at most");
    }
    let (mut inner, mut count): (Option<Vec<usize>>, _) = (None, 0);
    out.push('{');
    each(elements, |index, element| {
        if index > 0 {
            out.push(',');
        }
        let dimensions = if nested && element.get().starts_with('[') {
            array_level(element, form, nested, depth + 1, out)?
        } else {
            array_element(element, form, index, out)?;
            Vec::new()
        };
        count += 1;
        if *inner.get_or_insert_with(|| dimensions.clone()) != dimensions {
            return unfit("the arrays within an array must have the same length");
        }
        Ok(())
    })?;
    out.push('}');
    let mut dimensions = inner.unwrap_or_default();
    if depth > 0 && count == 0 {
        return unfit("an array within an array can't be empty");
    }
    dimensions.insert(0, count);
    Ok(dimensions)
}

fn array_element(element: &RawValue, form: &Form, index: usize, out: &mut String) -> Result<(), Unfit> {
    if is_null(element) {
        out.push_str("NULL");
        return Ok(());
    }
    let text = scalar(element, form).map_err(|Unfit(why)| Unfit(format!("element {index}: {why}")))?;
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    Ok(())
}
