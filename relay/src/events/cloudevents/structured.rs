//! The structured mode: the whole event as one [JSON](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md) document.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};
use towpath_wire::plain;

use super::{Malformed, Parts, is_attribute_name};

pub(super) fn read(media: &str, document: Bytes) -> Result<Parts, Malformed> {
    let essence = media.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/cloudevents+json") {
        return Err(Malformed::Format(media.to_owned()));
    }
    let mut members: Map<String, Value> =
        serde_json::from_slice(&document).map_err(|error| Malformed::Json(plain(&error.to_string())))?;
    let (data, base64) = (members.remove("data"), members.remove("data_base64"));
    let mut parts = Parts::default();
    for (name, value) in members {
        if !is_attribute_name(&name) {
            continue;
        }
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text,
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => {
                return Err(Malformed::Attribute(name, "a string, a number or a boolean"));
            }
        };
        parts.attributes.insert(name, text);
    }
    parts.content_type = parts.attributes.remove("datacontenttype");
    match (data, base64) {
        (Some(_), Some(_)) => return Err(Malformed::Json("it has both data and data_base64".into())),
        (None, Some(Value::String(text))) => {
            let bytes =
                BASE64_STANDARD.decode(text).map_err(|error| Malformed::Json(format!("data_base64: {error}")))?;
            parts.data = bytes.into();
        }
        (None, Some(_)) => return Err(Malformed::Json("data_base64 is not a string".into())),
        (None, None) => {}
        (Some(data), None) => {
            let media = parts.content_type.get_or_insert_with(|| "application/json".into());
            parts.data = match data {
                Value::String(text) if !is_json(media) => text.into(),
                data => data.to_string().into(),
            };
        }
    }
    Ok(parts)
}

/// `*/json` and `*/*+json`, whatever its parameters.
fn is_json(media: &str) -> bool {
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.split_once('/').is_some_and(|(_, subtype)| subtype == "json" || subtype.ends_with("+json"))
}
