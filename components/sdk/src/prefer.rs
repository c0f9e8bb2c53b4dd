//! The header `Prefer` (RFC 7240).

use std::time::Duration;

use crate::Request;

/// How long the client wants to wait for the outcome: `Prefer: wait=5`, at most `max`. Ignores a value that it can't read,
/// as the RFC says.
///
/// ```
/// use std::time::Duration;
/// use towpath_sdk::{Request, prefer};
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("prefer", "wait=60".parse().unwrap());
/// let request = Request::new(http::Method::POST, "/v1/orders", headers, "");
/// assert_eq!(prefer::wait(&request, Duration::from_secs(30)), Some(Duration::from_secs(30)));
/// ```
#[must_use]
pub fn wait(request: &Request, max: Duration) -> Option<Duration> {
    let values = request.headers().get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    let seconds = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse::<u32>().ok()).flatten()
    });
    // The first of several counts.
    let seconds = { seconds }.next().filter(|&seconds| seconds > 0)?;
    Some(Duration::from_secs(seconds.into()).min(max))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};

    use super::*;

    fn wait_of(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", value.parse().expect("a header value"));
        wait(&Request::new(Method::POST, "/", headers, ""), Duration::from_secs(30)).map(|wait| wait.as_secs())
    }

    #[test]
    fn the_wait_is_read_and_bounded() {
        assert_eq!(wait_of("wait=5"), Some(5));
        assert_eq!(wait_of("respond-async, Wait = \"7\"; x=y"), Some(7));
        assert_eq!(wait_of("wait=4000000"), Some(30));
        for none in ["wait", "wait=", "wait=-1", "wait=x", "wait=0", "respond-async", "wait=99999999999"] {
            assert_eq!(wait_of(none), None, "{none}");
        }
    }
}
