//! Finds the route of a path, by Spin's rules: an exact segment goes before `:name`, and `:name` before `/...`. So the
//! longest literal match wins, and an exact route wins over a wildcard. Matching ignores a final slash and doubled slashes.

use std::fmt;

/// A route's pattern: `/`, `/a/b`, `/a/:name`, `/a/...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
}

/// One piece of a pattern between slashes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Exact(String),
    Named(String),
    /// The rest of the path, which may be empty. Only at the end.
    Rest,
}

/// The parts of a path that a pattern captured.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Captures<'pattern, 'path> {
    /// The values of `:name` segments.
    pub named: Vec<(&'pattern str, &'path str)>,
    /// What `/...` matched, with its slash; empty if the pattern has no `/...` or it matched nothing.
    pub rest: &'path str,
}

impl Pattern {
    /// Reads a pattern.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("`{pattern}` is no route: {why}"));
        let (fixed, rest) = match pattern.strip_suffix("/...").or_else(|| pattern.strip_suffix("/*")) {
            Some(fixed) => (fixed, true),
            None => (pattern, false),
        };
        if !pattern.starts_with('/') {
            return wrong("it must begin with `/`");
        }
        let mut segments = Vec::new();
        for text in fixed.split('/').filter(|text| !text.is_empty()) {
            segments.push(match text.strip_prefix(':') {
                Some("") => return wrong("`:` needs a name"),
                Some(name) if name.contains('.') => {
                    return wrong("this host matches whole segments, not a part before a dot");
                }
                Some(name) => Segment::Named(name.to_owned()),
                None if text == "..." || text.starts_with('*') => {
                    return wrong("a wildcard can only be its last segment");
                }
                None => Segment::Exact(text.to_owned()),
            });
        }
        if rest {
            segments.push(Segment::Rest);
        }
        Ok(Self { segments })
    }

    /// Matches a path.
    pub fn matches<'pattern, 'path>(&'pattern self, path: &'path str) -> Option<Captures<'pattern, 'path>> {
        let mut captures = Captures::default();
        let mut rest = path;
        for segment in &self.segments {
            if *segment == Segment::Rest {
                captures.rest = without_extra_slashes(rest);
                return Some(captures);
            }
            let from = rest.trim_start_matches('/');
            let (text, after) = from.split_at(from.find('/').unwrap_or(from.len()));
            match segment {
                Segment::Exact(exact) if exact == text => {}
                Segment::Named(name) if !text.is_empty() => captures.named.push((name, text)),
                _ => return None,
            }
            rest = after;
        }
        rest.bytes().all(|byte| byte == b'/').then_some(captures)
    }

    /// The pattern of the lower rank is tried first. Texts and names do not count: two patterns that differ in a text
    /// before they differ in rank match different paths anyway. The end of a pattern goes before a wildcard in its place.
    fn rank(&self) -> impl Ord + use<> {
        let rank = |segment: &Segment| match segment {
            Segment::Exact(_) => 0_u8,
            Segment::Named(_) => 1,
            Segment::Rest => 2,
        };
        self.segments.iter().map(rank).collect::<Vec<_>>()
    }

    /// Whether it matches the same paths as another pattern.
    fn matches_the_same_as(&self, other: &Self) -> bool {
        let same = |pair: (&Segment, &Segment)| match pair {
            (Segment::Named(_), Segment::Named(_)) => true,
            (one, other) => one == other,
        };
        self.segments.len() == other.segments.len() && self.segments.iter().zip(&other.segments).all(same)
    }
}

/// The segments of a path in their plainest spelling: decoded, in lower case, without parameters, empty segments and dots.
/// It is for decisions that a client must not escape by another spelling; routes go by [`Pattern::matches`].
pub(crate) fn plain_segments(path: &str) -> Vec<String> {
    let mut decoded = percent_decoded(path.as_bytes());
    // Some decode twice.
    if decoded.contains(&b'%') {
        decoded = percent_decoded(&decoded);
    }
    decoded.make_ascii_lowercase();
    let mut segments: Vec<String> = Vec::new();
    for segment in String::from_utf8_lossy(&decoded).split(['/', '\\']) {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.to_owned()),
        }
    }
    segments
}

fn percent_decoded(mut bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    while let Some((&first, rest)) = bytes.split_first() {
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                decoded.push(byte);
                bytes = &rest[2..];
            }
            None => {
                decoded.push(first);
                bytes = rest;
            }
        }
    }
    decoded
}

/// Turns `//a` into `/a`: the slashes between a route and the rest of the path count once.
fn without_extra_slashes(rest: &str) -> &str {
    let extra = rest.len() - rest.trim_start_matches('/').len();
    &rest[extra.saturating_sub(1)..]
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        self.segments.iter().try_for_each(|segment| match segment {
            Segment::Exact(text) => write!(f, "/{text}"),
            Segment::Named(name) => write!(f, "/:{name}"),
            Segment::Rest => f.write_str("/..."),
        })
    }
}

/// The routes of an application, each with its target.
#[derive(Debug)]
pub struct Router<T> {
    /// In the order in which they are tried.
    routes: Vec<(Pattern, T)>,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { routes: Vec::new() }
    }
}

impl<T> Router<T> {
    /// Adds a route. Returns the target of an earlier route for the same paths, which this one replaces, as in Spin.
    pub fn add(&mut self, pattern: Pattern, target: T) -> Option<T> {
        let same = self.routes.iter().position(|(other, _)| other.matches_the_same_as(&pattern));
        let replaced = same.map(|index| self.routes.remove(index).1);
        let place = self.routes.partition_point(|(other, _)| other.rank() <= pattern.rank());
        self.routes.insert(place, (pattern, target));
        replaced
    }

    /// The route for a path.
    pub fn find<'path>(&self, path: &'path str) -> Option<(&T, Captures<'_, 'path>)> {
        self.routes.iter().find_map(|(pattern, target)| Some((target, pattern.matches(path)?)))
    }

    /// All routes, in the order in which they are tried.
    pub fn iter(&self) -> impl Iterator<Item = (&Pattern, &T)> {
        self.routes.iter().map(|(pattern, target)| (pattern, target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[&'static str]) -> Router<&'static str> {
        let mut router = Router::default();
        for route in routes {
            router.add(Pattern::parse(route).unwrap(), *route);
        }
        router
    }

    #[track_caller]
    fn expect(routes: &[&'static str], cases: &[(&str, Option<&str>)]) {
        let reversed: Vec<_> = routes.iter().rev().copied().collect();
        for router in [router(routes), router(&reversed)] {
            for (path, expected) in cases {
                assert_eq!(router.find(path).map(|(target, _)| *target), *expected, "{path}");
            }
        }
    }

    #[test]
    fn exact_routes_take_their_path_only() {
        expect(
            &["/foo", "/foo/bar", "/"],
            &[
                ("/foo", Some("/foo")),
                ("/foo/", Some("/foo")),
                ("//foo", Some("/foo")),
                ("/foo/bar", Some("/foo/bar")),
                ("/foo//bar/", Some("/foo/bar")),
                ("/", Some("/")),
                ("/foobar", None),
                ("/foo/baz", None),
                ("/Foo", None),
                ("", Some("/")),
            ],
        );
    }

    #[test]
    fn the_longest_match_wins_in_whatever_order_routes_stand() {
        expect(
            &["/...", "/one/...", "/one/two/...", "/one/two/three/...", "/one/two"],
            &[
                ("/one/two/three/four", Some("/one/two/three/...")),
                ("/one/two/three", Some("/one/two/three/...")),
                ("/one/two/four", Some("/one/two/...")),
                ("/one/two", Some("/one/two")),
                ("/one/two/", Some("/one/two")),
                ("/one", Some("/one/...")),
                ("/ones", Some("/...")),
                ("/", Some("/...")),
                ("/this/and/that", Some("/...")),
            ],
        );
    }

    #[test]
    fn exact_goes_before_named_and_named_before_wildcard() {
        expect(
            &["/users/:id", "/users/me", "/users/...", "/users/:id/orders"],
            &[
                ("/users/me", Some("/users/me")),
                ("/users/7", Some("/users/:id")),
                ("/users/7/orders", Some("/users/:id/orders")),
                ("/users/me/orders", Some("/users/:id/orders")),
                ("/users/7/other", Some("/users/...")),
                ("/users", Some("/users/...")),
            ],
        );
        expect(&["/:a/...", "/:b/exact"], &[("/x/exact", Some("/:b/exact")), ("/x/y", Some("/:a/..."))]);
    }

    #[test]
    fn the_relays_prefix_is_not_the_gateways() {
        expect(
            &["/...", "/_relay/order/...", "/_relay/payment/..."],
            &[
                ("/_relay/order/events", Some("/_relay/order/...")),
                ("/_relay/order", Some("/_relay/order/...")),
                ("/_relay/orders/events", Some("/...")),
                ("/_relay/", Some("/...")),
                ("/v1/orders", Some("/...")),
            ],
        );
    }

    #[test]
    fn a_wildcard_captures_the_rest_with_its_slashes() {
        for (route, path, rest) in [
            ("/...", "/1/2/3", "/1/2/3"),
            ("/1/...", "/1/2/3", "/2/3"),
            ("/test/...", "/test", ""),
            ("/test/...", "/test/", "/"),
            ("/test/...", "/test/hello", "/hello"),
            ("/test/...", "/test/hello/", "/hello/"),
            ("/test/*", "/test/hello", "/hello"),
            ("/test/...", "/test//hello", "/hello"),
            ("/...", "/", "/"),
            ("/:a/...", "/x/y", "/y"),
            ("/fixed", "/fixed/", ""),
        ] {
            let pattern = Pattern::parse(route).unwrap();
            assert_eq!(pattern.matches(path).unwrap().rest, rest, "{route} {path}");
        }
    }

    #[test]
    fn named_segments_are_captured() {
        let pattern = Pattern::parse("/1/:two/3/:four").unwrap();
        assert_eq!(pattern.matches("/1/b/3/d").unwrap().named, vec![("two", "b"), ("four", "d")]);
        assert_eq!(pattern.matches("/1//3/d"), None, "a name takes something");
    }

    #[test]
    fn what_is_no_route_is_refused() {
        for route in ["", "foo", "...", "/a/.../b", "/a/*/b", "/*name", "/:", "/:file.txt", "http://x/"] {
            assert!(Pattern::parse(route).is_err(), "{route}");
        }
        for route in ["/", "/...", "/*", "/a.b", "/a/", "/.well-known/x"] {
            assert!(Pattern::parse(route).is_ok(), "{route}");
        }
    }

    #[test]
    fn the_last_of_two_equal_routes_wins_and_the_first_is_told() {
        let mut router = Router::default();
        assert_eq!(router.add(Pattern::parse("/a/:x").unwrap(), 1), None);
        assert_eq!(router.add(Pattern::parse("/a/b").unwrap(), 2), None);
        assert_eq!(router.add(Pattern::parse("/a/:y/").unwrap(), 3), Some(1));
        assert_eq!(router.find("/a/c").map(|(target, _)| *target), Some(3));
        assert_eq!(router.iter().count(), 2);
    }
}
