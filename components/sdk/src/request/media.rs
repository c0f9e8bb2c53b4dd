//! What `Content-Type` says. Web pages may send forms and plain text anywhere without being asked; JSON they may not, so a
//! body that must say that it is JSON is none of another site's.

use http::{HeaderMap, header::CONTENT_TYPE};

/// What a body is.
pub(super) const BODY: &[&str] = &["application/json"];
/// What the body of a `PATCH` is.
pub(super) const PATCH: &[&str] = &["application/json", "application/merge-patch+json"];

/// Whether the headers say, once, that the body is of one of these types, in UTF-8 if they name a character set.
pub(super) fn is_one_of(headers: &HeaderMap, types: &[&str]) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => is_utf8(value.as_bytes(), |essence| types.contains(&essence)),
        _ => false,
    }
}

/// Whether nothing in the headers says that the body is something else than JSON.
pub(super) fn may_be_json(headers: &HeaderMap) -> bool {
    let is_json = |essence: &str| {
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
    };
    headers.get_all(CONTENT_TYPE).iter().all(|value| is_utf8(value.as_bytes(), is_json))
}

fn is_utf8(value: &[u8], is_wanted: impl Fn(&str) -> bool) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    is_wanted(essence)
        && parts.all(|parameter| match parameter.strip_prefix("charset=") {
            Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"),
            None => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (CONTENT_TYPE, http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn json_is_what_says_so_in_utf_8() {
        for fine in [
            "application/json",
            "Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; version=1",
        ] {
            assert!(is_one_of(&headers(&[fine]), BODY), "{fine}");
        }
        for wrong in [
            "",
            "text/plain",
            "text/plain; application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=application/json",
            "application/jsonx",
            "application/json, text/plain",
            "application/json; charset=utf-16",
            "application/merge-patch+json",
            "application/problem+json",
        ] {
            assert!(!is_one_of(&headers(&[wrong]), BODY), "{wrong}");
        }
        assert!(!is_one_of(&headers(&[]), BODY));
        assert!(!is_one_of(&headers(&["application/json", "text/plain"]), BODY));
        assert!(is_one_of(&headers(&["application/merge-patch+json"]), PATCH));
    }

    #[test]
    fn an_event_may_keep_quiet() {
        for fine in [&[][..], &["application/json"], &["application/vnd.thing+json; charset=utf-8"]] {
            assert!(may_be_json(&headers(fine)), "{fine:?}");
        }
        for wrong in ["text/plain", "application/json; charset=latin1", "image/png"] {
            assert!(!may_be_json(&headers(&[wrong])), "{wrong}");
        }
    }
}
