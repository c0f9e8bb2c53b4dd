//! W3C trace context, which a request carries from the client to the last component.

use http::{HeaderMap, HeaderValue};
use towpath_wire::headers;
use uuid::Uuid;

/// The trace context of one request; its calls carry it on.
///
/// ```
/// use towpath_sdk::Trace;
///
/// let trace = Trace::root();
/// let mut headers = http::HeaderMap::new();
/// trace.write(&mut headers);
/// assert_eq!(Trace::of(&headers), trace);
/// assert!(trace.parent().contains(trace.id()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    parent: String,
    state: Option<String>,
}

impl Trace {
    /// The context of a request, or a new one if the request has none that is valid.
    /// `towpath-traceparent` goes before `traceparent`: Spin replaces that one on calls between components.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let parent = [headers::TOWPATH_TRACEPARENT, headers::TRACEPARENT]
            .into_iter()
            .filter_map(text)
            .find(|parent| is_valid(parent));
        match parent {
            Some(parent) => {
                let state = text(headers::TRACESTATE).filter(|state| state.len() <= 512).map(str::to_owned);
                Self { parent: parent.to_owned(), state }
            }
            None => Self::root(),
        }
    }

    /// A new trace, sampled.
    #[must_use]
    pub fn root() -> Self {
        let trace = Uuid::new_v4().simple();
        let span = Uuid::new_v4().simple().to_string();
        Self { parent: format!("00-{trace}-{}-01", &span[..16]), state: None }
    }

    /// The value of `traceparent`.
    #[must_use]
    pub fn parent(&self) -> &str {
        &self.parent
    }

    /// The trace id, for log lines.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.parent[3..35]
    }

    /// Writes the context into the headers of a call.
    pub fn write(&self, target: &mut HeaderMap) {
        if let Ok(parent) = HeaderValue::from_str(&self.parent) {
            target.insert(headers::TOWPATH_TRACEPARENT, parent.clone());
            target.insert(headers::TRACEPARENT, parent);
        }
        if let Some(state) = self.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
            target.insert(headers::TRACESTATE, state);
        }
    }
}

/// Version 00: `00-<32 lower hex>-<16 lower hex>-<2 lower hex>`, ids not all zero.
fn is_valid(parent: &str) -> bool {
    let mut parts = parent.split('-');
    let mut part = |length: usize| {
        parts.next().filter(|part| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        })
    };
    let (version, trace, span, flags) = (part(2), part(32), part(16), part(2));
    let set = |id: Option<&str>| id.is_some_and(|id| id.bytes().any(|byte| byte != b'0'));
    version == Some("00") && set(trace) && set(span) && flags.is_some() && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const INNER: &str = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn our_own_header_goes_first() {
        let trace =
            Trace::of(&headers(&[("traceparent", OUTER), ("towpath-traceparent", INNER), ("tracestate", "a=b")]));
        assert_eq!((trace.parent(), trace.id()), (INNER, &INNER[3..35]));
        let mut target = HeaderMap::new();
        trace.write(&mut target);
        assert_eq!(target, headers(&[("traceparent", INNER), ("towpath-traceparent", INNER), ("tracestate", "a=b")]));
        assert_eq!(Trace::of(&headers(&[("traceparent", OUTER), ("towpath-traceparent", "x")])).parent(), OUTER);
    }

    #[test]
    fn what_cant_be_read_begins_a_new_trace() {
        let zero = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for wrong in ["", "x", zero, &OUTER.to_uppercase(), &format!("{OUTER}-x"), &OUTER.replacen("00", "01", 1)] {
            let trace = Trace::of(&headers(&[("traceparent", wrong)]));
            assert!(trace.parent() != wrong && is_valid(trace.parent()), "{wrong}");
        }
    }
}
