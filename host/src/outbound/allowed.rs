//! `allowed_outbound_hosts`: the hosts that a component may call. An entry is `scheme://host[:port]`. Scheme, host and
//! port may be `*`. A host may also be `*.domain`, a network in CIDR notation, or `self`, the application itself. A port
//! may be a range `from..to` that excludes its end. A component may call a host if one of its entries allows it.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;

use ipnet::IpNet;
use url::Host;

use super::chain;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHost {
    /// `None` allows every scheme.
    scheme: Option<String>,
    host: HostRule,
    port: PortRule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum HostRule {
    Any,
    /// The application itself.
    Itself,
    /// With a leading dot: neither `example.com` nor `myexample.com` is a subdomain of `example.com`.
    SubdomainOf(String),
    Exactly(Host),
    In(IpNet),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PortRule {
    Any,
    Within(Range<u32>),
}

impl FromStr for AllowedHost {
    type Err = String;

    fn from_str(entry: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{entry}` is no allowed host (scheme://host[:port]): {why}");
        let (scheme, rest) =
            entry.trim().split_once("://").ok_or_else(|| wrong("it has no scheme, such as `http://` or `*://`"))?;
        if scheme != "*" && (scheme.is_empty() || !scheme.chars().all(char::is_alphabetic)) {
            return Err(wrong("a scheme is letters, or `*`"));
        }
        let (host, port) = split_port(rest).map_err(wrong)?;
        Ok(Self {
            scheme: (scheme != "*").then(|| scheme.to_owned()),
            host: HostRule::parse(host).map_err(|why| wrong(&why))?,
            port: PortRule::parse(port, scheme).map_err(|why| wrong(&why))?,
        })
    }
}

/// Splits host and port. Both may contain colons.
fn split_port(rest: &str) -> Result<(&str, &str), &'static str> {
    match rest.rsplit_once(':') {
        None => Ok((rest, "")),
        Some((host, "")) => Ok((host, "")),
        Some(_) if HostRule::parse(rest).is_ok() => Ok((rest, "")),
        Some((host, tail)) => match tail.split_once('/') {
            None | Some((_, "")) => Ok((host, tail.trim_end_matches('/'))),
            Some(_) => Err("it must have no path"),
        },
    }
}

impl HostRule {
    fn parse(host: &str) -> Result<Self, String> {
        let host = host.trim();
        match host {
            "*" => return Ok(Self::Any),
            "self" | "self.alt" => return Ok(Self::Itself),
            _ => {}
        }
        if let Ok(network) = host.parse::<IpNet>() {
            return Ok(Self::In(network.trunc()));
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        if host.contains('/') {
            return Err("it must have no path".into());
        }
        let (wildcard, name) = match host.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, host),
        };
        if name.starts_with('{') {
            return Err("lists of hosts are not supported; write one entry for each".into());
        }
        if name.contains('*') {
            return Err("`*` must be the whole host, or stand before the first dot".into());
        }
        match (wildcard, Host::parse(name).map_err(|error| format!("its host: {error}"))?) {
            (false, host) => Ok(Self::Exactly(host)),
            (true, Host::Domain(domain)) => Ok(Self::SubdomainOf(format!(".{domain}"))),
            (true, _) => Err("`*.` needs a domain after it".into()),
        }
    }

    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Exactly(own), host) => own == host,
            (Self::SubdomainOf(suffix), Host::Domain(domain)) => domain.ends_with(suffix),
            (Self::In(network), Host::Ipv4(address)) => network.contains(&IpAddr::V4(*address)),
            (Self::In(network), Host::Ipv6(address)) => network.contains(&IpAddr::V6(*address)),
            (Self::Itself | Self::SubdomainOf(_) | Self::In(_), _) => false,
        }
    }
}

impl PortRule {
    fn parse(port: &str, scheme: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| format!("`{text}` is no port"));
        match port {
            "*" => Ok(Self::Any),
            "" => default_port(scheme)
                .map(|port| Self::Within(port.into()..u32::from(port) + 1))
                .ok_or_else(|| format!("`{scheme}` has no default port, so it needs one")),
            _ => match port.split_once("..") {
                Some((from, to)) => Ok(Self::Within(number(from)?..number(to)?)),
                None => number(port).map(|port| Self::Within(port..port + 1)),
            },
        }
    }

    fn allows(&self, port: Option<u16>) -> bool {
        match self {
            Self::Any => true,
            Self::Within(range) => port.is_some_and(|port| range.contains(&port.into())),
        }
    }
}

/// The port of a scheme, for an address without a port.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        "postgres" => Some(5432),
        "mysql" => Some(3306),
        "redis" => Some(6379),
        "mqtt" => Some(1883),
        _ => None,
    }
}

/// The entries of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    entries: Vec<AllowedHost>,
    /// The components that `*.spin.internal` matches.
    components: Vec<String>,
}

impl AllowedHosts {
    /// Reads a component's entries after templates were filled in. Empty entries allow nothing, so that a variable can
    /// switch a destination off.
    pub fn parse<'a>(filled: impl IntoIterator<Item = &'a str>, components: &[String]) -> Result<Self, String> {
        let entries = filled.into_iter().filter(|entry| !matches!(*entry, "" | "http://" | "https://"));
        Ok(Self { entries: entries.map(str::parse).collect::<Result<_, _>>()?, components: components.to_vec() })
    }

    /// Whether the component may call this host.
    pub fn allow(&self, scheme: &str, host: &str, port: Option<u16>) -> bool {
        let Ok(parsed) = Host::parse(host) else { return false };
        let port = port.or_else(|| default_port(scheme));
        self.entries.iter().any(|entry| {
            entry.scheme.as_deref().is_none_or(|own| own == scheme)
                && entry.port.allows(port)
                && entry.host.allows(&parsed)
                && (entry.host != HostRule::SubdomainOf(chain::SUFFIX.into()) || self.is_component(host))
        })
    }

    /// Whether the component may call the application itself.
    pub fn allow_self(&self) -> bool {
        self.entries.iter().any(|entry| {
            entry.scheme.as_deref().is_none_or(|own| matches!(own, "http" | "https"))
                && matches!(entry.host, HostRule::Any | HostRule::Itself)
        })
    }

    fn is_component(&self, host: &str) -> bool {
        chain::target(host).is_some_and(|name| self.components.iter().any(|component| component == name))
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries", self.entries.len())
    }
}

#[cfg(test)]
mod tests;
