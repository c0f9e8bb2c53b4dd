//! Reads objects from JSON objects alone. serde's derived code takes an array for an object too, with its elements for the
//! fields in their order: a request that means something else than its sender thinks.
//!
//! For `#[serde(deserialize_with = "...")]` on the fields of requests that hold objects.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A list of objects.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<Vec<T>, D::Error> {
    Ok(Vec::<Object<T>>::deserialize(reader)?.into_iter().map(|object| object.0).collect())
}

/// An object, or none.
pub(crate) fn optional<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Object<T>>::deserialize(reader)?.map(|object| object.0))
}

struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_map(ObjectVisitor(PhantomData)).map(Self)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use crate::{QueryRequest, TransactionRequest};

    #[test]
    fn an_array_is_no_object() {
        for body in [
            r#"{"steps": [["SELECT 1"]]}"#,
            r#"{"steps": [{"sql": "SELECT 1", "expect": ["exactly", 1]}]}"#,
            r#"{"events": [["topic", "key", "type"]]}"#,
            r#"{"idempotency": ["key", "hash", {}]}"#,
        ] {
            let error = serde_json::from_str::<TransactionRequest>(body).expect_err(body).to_string();
            assert!(error.contains("invalid type: sequence"), "{body}: {error}");
        }
        for body in [r#"{"sql": "SELECT 1", "cache": [1]}"#, r#"{"sql": "SELECT 1", "wait": [["key"], 0]}"#] {
            let error = serde_json::from_str::<QueryRequest>(body).expect_err(body).to_string();
            assert!(error.contains("invalid type: sequence, expected an object"), "{body}: {error}");
        }
    }

    #[test]
    fn null_is_none() {
        let body =
            r#"{"inbox": null, "idempotency": null, "steps": [{"sql": "SELECT 1", "label": null, "expect": null}]}"#;
        let request: TransactionRequest = serde_json::from_str(body).expect("it fits");
        assert_eq!((request.idempotency, request.steps.len()), (None, 1));
        let query: QueryRequest =
            serde_json::from_str(r#"{"sql": "SELECT 1", "cache": null, "wait": null}"#).expect("it fits");
        assert_eq!((query.cache, query.wait), (None, None));
    }
}
