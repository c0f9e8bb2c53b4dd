//! W3C trace context, as it travels with requests and events.

use http::{HeaderMap, HeaderValue};
use towpath_wire::headers::{TOWPATH_TRACEPARENT, TRACEPARENT, TRACESTATE};

/// A position in a trace: what a request brought, what an event carries, what a delivery shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// W3C `traceparent`, version 00: always well-formed.
    pub traceparent: String,
    /// W3C `tracestate`.
    pub tracestate: Option<String>,
}

/// What the W3C recommendation asks receivers to carry at least; longer states are dropped.
const MAX_STATE_BYTES: usize = 512;

impl TraceContext {
    /// The context of these values, where the first is well-formed.
    #[must_use]
    pub fn new(traceparent: &str, tracestate: Option<&str>) -> Option<Self> {
        let tracestate = tracestate.filter(|state| !state.is_empty() && state.len() <= MAX_STATE_BYTES);
        is_traceparent(traceparent)
            .then(|| Self { traceparent: traceparent.to_owned(), tracestate: tracestate.map(str::to_owned) })
    }

    /// What a request brought: `towpath-traceparent` is preferred over `traceparent`, which Spin replaces on outbound
    /// calls when its own tracing is on.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let state = text(TRACESTATE);
        [TOWPATH_TRACEPARENT, TRACEPARENT].into_iter().filter_map(text).find_map(|parent| Self::new(parent, state))
    }

    /// The beginning of a new trace.
    #[must_use]
    pub fn begin() -> Self {
        let (trace, span): (u128, u64) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
        Self { traceparent: format!("00-{trace:032x}-{span:016x}-01"), tracestate: None }
    }

    /// Puts it into headers, under both names.
    pub fn write(&self, headers: &mut HeaderMap) {
        // Both are ASCII: one is well-formed, the other came out of a header or was checked where it was read.
        if let Ok(parent) = HeaderValue::from_str(&self.traceparent) {
            headers.insert(TOWPATH_TRACEPARENT, parent.clone());
            headers.insert(TRACEPARENT, parent);
        }
        if let Some(state) = self.tracestate.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
            headers.insert(TRACESTATE, state);
        }
    }

    /// The id of the trace: 32 hexadecimal digits.
    #[must_use]
    pub(crate) fn trace_id(&self) -> &str {
        &self.traceparent[3..35]
    }
}

/// `00-` 32 hex `-` 16 hex `-` 2 hex, lower case, neither id all zero. A later version may be longer.
fn is_traceparent(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|b| *b == b'0');
    bytes.len() == 55
        && bytes.starts_with(b"00-")
        && (bytes[35], bytes[52]) == (b'-', b'-')
        && hex(3..35)
        && hex(36..52)
        && hex(53..55)
        && !zero(3..35)
        && !zero(36..52)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const OTHER: &str = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00";

    #[test]
    fn our_own_header_is_preferred() {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_static(OTHER));
        assert_eq!(TraceContext::from_headers(&headers).unwrap().traceparent, OTHER);
        headers.insert(TOWPATH_TRACEPARENT, HeaderValue::from_static(ONE));
        headers.insert(TRACESTATE, HeaderValue::from_static("a=1"));
        let context = TraceContext::from_headers(&headers).unwrap();
        assert_eq!((context.traceparent.as_str(), context.tracestate.as_deref()), (ONE, Some("a=1")));
        let mut out = HeaderMap::new();
        context.write(&mut out);
        assert_eq!(TraceContext::from_headers(&out), Some(context));
    }

    #[test]
    fn a_broken_header_is_no_context_and_hides_no_good_one() {
        for broken in ["", "00", &ONE[1..], &ONE.to_uppercase(), &ONE.replace('b', "0").replace("7ad6", "zzzz")] {
            assert_eq!(TraceContext::new(broken, None), None, "{broken}");
        }
        assert_eq!(TraceContext::new(&format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), None), None);
        let mut headers = HeaderMap::new();
        headers.insert(TOWPATH_TRACEPARENT, HeaderValue::from_static("nonsense"));
        headers.insert(TRACEPARENT, HeaderValue::from_static(ONE));
        assert_eq!(TraceContext::from_headers(&headers).unwrap().traceparent, ONE);
    }

    #[test]
    fn a_new_trace_is_well_formed() {
        let context = TraceContext::begin();
        assert!(is_traceparent(&context.traceparent));
        assert_eq!(context.trace_id().len(), 32);
    }
}
