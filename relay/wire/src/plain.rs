//! serde's messages in the words of JSON: nobody who sends a request knows what a `u32`, a sequence or a map is.

/// What serde says of data that don't fit, for a person who knows JSON. Other texts stay as they are.
///
/// ```
/// let said = "invalid type: string \"7\", expected u32 at line 1 column 9";
/// let plain = "must be a whole number from 0 to 4294967295, not the string \"7\" at line 1 column 9";
/// assert_eq!(towpath_wire::plain(said), plain);
/// ```
#[must_use]
pub fn plain(message: &str) -> String {
    // What was found may hold any text, also these words: the place stands at the end, what is wanted right before it.
    let (said, place) = match message.rsplit_once(" at line ") {
        Some((said, place)) if place.bytes().all(|byte| byte.is_ascii_digit() || b" column".contains(&byte)) => {
            (said, format!(" at line {place}"))
        }
        _ => (message, String::new()),
    };
    let found = ["invalid type: ", "invalid value: ", "invalid length "].iter().find_map(|is| said.strip_prefix(is));
    if let Some((found, wanted)) = found.and_then(|found| found.rsplit_once(", expected ")) {
        return format!("must be {}, not {}{place}", self::wanted(wanted), self::found(found));
    }
    match said.strip_prefix("unknown variant ") {
        Some(rest) => format!("unknown value {rest}{place}"),
        None => message.to_owned(),
    }
}

fn wanted(name: &str) -> String {
    let most = match name {
        "u8" => u8::MAX.to_string(),
        "u16" => u16::MAX.to_string(),
        "u32" => u32::MAX.to_string(),
        "u64" | "usize" => u64::MAX.to_string(),
        "i8" | "i16" | "i32" | "i64" | "isize" | "u128" | "i128" => return "a whole number".to_owned(),
        "f32" | "f64" => return "a number".to_owned(),
        "a boolean" => return "true or false".to_owned(),
        "a borrowed string" | "a character" => return "a string".to_owned(),
        "string or map" => return "a string or an object".to_owned(),
        "a map" => return "an object".to_owned(),
        "unit" | "unit value" => return "null".to_owned(),
        "a sequence" => return "an array".to_owned(),
        _ if ["tuple ", "a tuple ", "an array of "].iter().any(|begin| name.starts_with(begin)) => {
            return "an array".to_owned();
        }
        _ if ["struct ", "enum ", "variant identifier"].iter().any(|begin| name.starts_with(begin)) => {
            return "an object".to_owned();
        }
        _ => return name.to_owned(),
    };
    format!("a whole number from 0 to {most}")
}

fn found(name: &str) -> String {
    for (serde, json) in [
        ("integer `", "the number "),
        ("floating point `", "the number "),
        ("boolean `", ""),
        ("character `", "the string "),
    ] {
        if let Some(value) = name.strip_prefix(serde) {
            return format!("{json}{}", value.trim_end_matches('`'));
        }
    }
    match name {
        "sequence" => "an array".to_owned(),
        "map" => "an object".to_owned(),
        "null" | "unit value" | "Option value" => "null".to_owned(),
        _ if name.starts_with("string ") => format!("the {name}"),
        _ if name.bytes().all(|byte| byte.is_ascii_digit()) => format!("an array of {name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{CachePut, Event, QueryRequest, RateLimitRequest, TransactionRequest, plain};

    fn said<T: serde::de::DeserializeOwned>(body: &Value) -> String {
        match serde_json::from_str::<T>(&body.to_string()) {
            Ok(_) => panic!("{body} is read"),
            Err(error) => plain(&error.to_string()),
        }
    }

    /// Every value where every other is wanted.
    #[test]
    fn no_type_of_rust_or_serde_is_named() {
        let values =
            [json!(null), json!(true), json!(-7), json!(7.5), json!("x, expected u32"), json!([1]), json!({"a": 1})];
        let whole = json!({
            "steps": [{"sql": "SELECT 1", "params": [], "label": "l", "expect": {"exactly": 1}}],
            "events": [{"topic": "t", "key": "k", "type": "t", "data": 1}],
            "inbox": "i", "idempotency": {"key": "k", "request_hash": "h", "answer": 1},
            "isolation": "serializable", "invalidate": ["a"], "notify": ["b"],
        });
        let query = json!({"sql": "SELECT 1", "params": [], "cache": {"key": "k", "ttl_ms": 1, "tags": ["t"]},
            "wait": {"keys": ["k"], "timeout_ms": 1}, "consistency": "primary"});
        let mut texts = Vec::new();
        let mut read = |read: fn(&str) -> Option<String>, body: &Value| {
            texts.extend(places(body, &values).iter().filter_map(|body| read(&body.to_string())));
        };
        read(|text| serde_json::from_str::<TransactionRequest>(text).err().map(|error| error.to_string()), &whole);
        read(|text| serde_json::from_str::<QueryRequest>(text).err().map(|error| error.to_string()), &query);
        read(|text| serde_json::from_str::<Event>(text).err().map(|error| error.to_string()), &whole["events"][0]);
        let put = json!({"value": 1, "ttl_ms": 1, "tags": ["t"]});
        read(|text| serde_json::from_str::<CachePut>(text).err().map(|error| error.to_string()), &put);
        let limit = json!({"rate": 1, "period_ms": 1, "burst": 1});
        read(|text| serde_json::from_str::<RateLimitRequest>(text).err().map(|error| error.to_string()), &limit);
        assert!(texts.len() > 100, "{}", texts.len());
        for text in texts {
            let plain = plain(&text).replace("x, expected u32", "x");
            for word in [
                "u8",
                "u16",
                "u32",
                "u64",
                "usize",
                "i64",
                "f64",
                "struct",
                "enum",
                "sequence",
                "map",
                "unit",
                "variant",
                "tuple",
                "Option",
                "floating",
                "boolean",
                "invalid type",
                "invalid value",
                "Of`",
                "expected value",
            ] {
                assert!(!plain.contains(word), "{word}: {text}\n{plain}");
            }
        }
    }

    /// The body, with one of these values in the place of each of its own.
    fn places(body: &Value, values: &[Value]) -> Vec<Value> {
        let mut all = values.to_vec();
        match body {
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    for changed in places(item, values) {
                        let mut items = items.clone();
                        items[index] = changed;
                        all.push(Value::Array(items));
                    }
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    for changed in places(member, values) {
                        let mut members = members.clone();
                        members.insert(name.clone(), changed);
                        all.push(Value::Object(members));
                    }
                }
            }
            _ => {}
        }
        all
    }

    #[test]
    fn what_is_wanted_and_what_came_are_named() {
        let limit = |rate: Value| said::<RateLimitRequest>(&json!({"rate": rate, "period_ms": 1, "burst": 1}));
        assert!(limit(json!(-1)).starts_with("must be an integer from 0 on, not the number -1 at line"));
        assert!(limit(json!([1])).starts_with("must be an integer from 0 on, not an array"));
        let step = |expect: Value| said::<TransactionRequest>(&json!({"steps": [{"sql": "S", "expect": expect}]}));
        let both = "a step expects one thing, not exactly and at_least both";
        assert!(
            step(json!({"exactly": 1, "at_least": 2})).starts_with(both),
            "{}",
            step(json!({"exactly": 1, "at_least": 2}))
        );
        assert!(step(json!({"at_least": 1, "at_least2": 2})).starts_with("unknown field `at_least2`, expected"));
        assert!(step(json!({})).starts_with("it is empty: a step expects exactly or at_least"));
        assert!(step(json!("exactly")).starts_with("must be an object with exactly or at_least, not the string"));
        assert_eq!(
            plain("EOF while parsing a value at line 1 column 0"),
            "EOF while parsing a value at line 1 column 0"
        );
    }
}
