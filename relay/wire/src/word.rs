//! Reads one of some words from a string alone. What serde derives takes other values too, or says of them that they are no
//! JSON.
//!
//! For `#[serde(deserialize_with = "word::read")]` on the fields of requests.

use serde::de::IntoDeserializer;
use serde::{Deserialize, Deserializer};

pub(crate) fn read<'de, D: Deserializer<'de>, T: for<'a> Deserialize<'a>>(reader: D) -> Result<T, D::Error> {
    T::deserialize(String::deserialize(reader)?.into_deserializer())
}

#[cfg(test)]
mod tests {
    use crate::{Isolation, TransactionRequest};

    #[test]
    fn a_word_is_a_string() {
        let read = |isolation: &str| {
            let read = serde_json::from_str::<TransactionRequest>(&format!("{{\"isolation\": {isolation}}}"));
            read.map(|request| request.isolation).map_err(|error| error.to_string())
        };
        assert_eq!(read("\"serializable\""), Ok(Isolation::Serializable));
        assert!(read("\"weak\"").is_err_and(|error| error.contains("unknown variant `weak`, expected one of")));
        for other in ["7", "null", "{\"serializable\": null}", "[\"serializable\"]"] {
            assert!(read(other).is_err_and(|error| error.contains("expected a string")), "{other}: {:?}", read(other));
        }
    }
}
