//! The command line. Each option that is a limit stands in `docs/limits.md` with its default.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::application;
use crate::engine::InstanceLimits;
use crate::server::ServerLimits;

/// Runs a Spin application (spin.toml, version 2) on an embedded wasmtime.
///
/// It supports what Spin 4.1 supports for components of WASI HTTP 0.3 and 0.2: routes, calls between components, allowed
/// hosts, variables. A manifest that asks for anything else (key-value stores, SQLite, files, ...) is an error that names
/// the field.
///
/// Variables come from SPIN_VARIABLE_<NAME> in the environment, then from .env beside the manifest, then from the
/// manifest's defaults. When it accepts connections it prints `listening http://ADDRESS`; the log goes to stderr.
#[derive(Clone, Debug, Parser)]
#[command(name = "towpath-host", version, after_long_help = EXAMPLES, max_term_width = 120)]
pub struct Options {
    /// Manifest of the application to run
    #[arg(long, short = 'f', value_name = "FILE", default_value = "spin.toml")]
    pub(crate) manifest: PathBuf,

    /// Address to listen on; port 0 picks a free port
    #[arg(long, value_name = "ADDRESS", env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = address)]
    pub(crate) listen: SocketAddr,

    /// Address to listen on for deliveries of the relay; port 0 picks a free port. It need not be reachable for clients. An
    /// application without routes below --deliveries-prefix has no such listener, unless this is given and a route for any
    /// path takes them [default: 127.0.0.1:3100]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) deliveries_listen: Option<SocketAddr>,

    /// Listen beyond loopback although this variable has a value that the manifest allows on loopback alone
    /// (application.tool.towpath-host.loopback_only); name each such variable
    #[arg(long, value_name = "VARIABLE", value_delimiter = ',')]
    pub(crate) allow_beyond_loopback: Vec<String>,

    /// Folder that keeps compiled components for the next start [default: wasmtime's cache folder in the user's home]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// Reads the manifest, resolves the variables, compiles the components, and exits
    #[arg(long)]
    pub(crate) check: bool,

    /// Format of the log; RUST_LOG sets its levels
    #[arg(long, value_enum, default_value_t = LogFormat::Pretty)]
    pub(crate) log_format: LogFormat,

    /// Drain timeout: on SIGTERM or SIGINT, finishes the requests in flight, but cuts them off after this long; a second
    /// signal cuts them off at once
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// What components may use.
    #[command(flatten)]
    pub(crate) instances: InstanceOptions,

    /// What clients may use.
    #[command(flatten)]
    pub(crate) edge: EdgeOptions,
}

/// Limits of the components.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Components")]
pub(crate) struct InstanceOptions {
    /// Maximum number of instances at a time, of all components together; answers a request that needs one more 503 with
    /// Retry-After
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) max_instances: u32,

    /// Maximum memory of one instance; refuses an instance more than this, which makes most components trap (500)
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = bytes)]
    pub(crate) max_instance_memory: u64,

    /// Maximum number of requests to one instance; ends the instance after them
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_one)]
    pub(crate) max_instance_reuse_count: usize,

    /// Maximum number of requests to one instance at a time; sends further ones to other instances
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    pub(crate) max_instance_concurrent_reuse_count: usize,

    /// Idle timeout: ends an instance that has had no request for this long
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub(crate) idle_instance_timeout: Duration,

    /// Request timeout: answers 504 if a component sends no response head within this time; ends the instance if it takes
    /// as long again for the rest
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) request_timeout: Duration,

    /// Busy timeout: ends an instance that computes for this long without waiting for anything (500)
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub(crate) busy_timeout: Duration,

    /// Maximum depth of calls from component to component; denies deeper calls
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) max_call_depth: u8,
}

/// Limits of the clients.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Clients")]
pub(crate) struct EdgeOptions {
    /// Maximum number of requests in flight on each route; answers further ones 503 with Retry-After
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub(crate) max_in_flight: usize,

    /// Target latency: while the median response to requests with the same first two path segments takes longer than this,
    /// admits fewer of them at a time and answers the others 503 with Retry-After; 0s turns this off
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub(crate) target_latency: Duration,

    /// Routes below this prefix are for deliveries of the relay, which limits itself: serves them on --deliveries-listen
    /// alone, exempt from --target-latency, and answers 404 below it on --listen
    #[arg(long, value_name = "PATH", default_value = "/_relay/")]
    pub(crate) deliveries_prefix: String,

    /// Names, in the header Host, by which the relay reaches --deliveries-listen, beside addresses and localhost; answers 421
    /// for others, and 403 to web pages (Origin). Which names and pages --listen serves is the application's rule: Towpath's
    /// gateway has the variables allowed_hosts and allowed_origins for it
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) deliveries_hosts: Vec<String>,

    /// Requests for this path have places of their own (16), are exempt from --target-latency, and are served beyond
    /// --max-connections
    #[arg(long, value_name = "PATH", default_value = "/healthz")]
    pub(crate) health_path: String,

    /// Maximum number of requests that wait (`Prefer: wait`), which need no other place; beyond it, removes the preference
    /// from further ones, so that the component responds at once
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub(crate) max_waits: usize,

    /// Maximum number of connections of each listener. Closes the one that is idle longest for a new one; if none is idle,
    /// accepts 256 more, on which it answers 503 with Retry-After, and leaves further ones waiting
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub(crate) max_connections: usize,

    /// The same for the connections of one IPv4 address or /64 network of IPv6 addresses
    #[arg(long, value_name = "N", default_value_t = 2048, value_parser = at_least_one)]
    pub(crate) max_connections_per_address: usize,

    /// Maximum memory of each listener for request bodies that have not arrived and responses that clients have not taken;
    /// beyond it, gives up what it holds longest for the address that has most
    #[arg(long, value_name = "SIZE", default_value = "32MiB", value_parser = bytes)]
    pub(crate) max_held_bytes: u64,

    /// Maximum size of a request's line and headers; answers 431 beyond it
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = header_bytes)]
    pub(crate) max_header_bytes: u64,

    /// Maximum number of a request's headers; answers 431 beyond it
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    pub(crate) max_headers: usize,

    /// Maximum size of a request's body; answers 413 beyond it
    #[arg(long, value_name = "SIZE", default_value = "10MiB", value_parser = bytes)]
    pub(crate) max_body_bytes: u64,

    /// Header timeout: closes the connection if the client does not send a whole request head within this time; also
    /// closes it when there was no request for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) header_timeout: Duration,

    /// Body timeout: answers 408 if the client does not send the whole request body within this time
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) body_timeout: Duration,

    /// Write timeout: closes the connection if the client reads nothing for this long, and resets a stream of HTTP/2 whose
    /// window has no room for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) write_timeout: Duration,

    /// Answer timeout: closes the connection, or resets the stream of HTTP/2, if the client does not receive a whole response
    /// within this time from its first byte on
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub(crate) answer_timeout: Duration,
}

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object per line.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  towpath-host                                   serve ./spin.toml on 127.0.0.1:3000
  towpath-host --check -f shop/spin.toml         list every fault of an application
  SPIN_VARIABLE_RELAY_URL=http://127.0.0.1:7070 towpath-host --listen 127.0.0.1:0
  SPIN_VARIABLE_ALLOWED_HOSTS=shop.example towpath-host --listen 0.0.0.0:80
  RUST_LOG=towpath_host=debug,guest=info towpath-host --log-format json

Exit status:
  0  stopped by SIGTERM or SIGINT after it finished every request
  1  could not start, or failed
  2  stopped and cut off requests (--drain-timeout passed, or a second signal)
 64  the command line, the manifest, a variable or a component is wrong";

impl Options {
    pub(crate) fn application_limits(&self) -> application::Limits {
        let own = &self.instances;
        application::Limits {
            instances: InstanceLimits {
                max_reuse: own.max_instance_reuse_count,
                max_concurrent: own.max_instance_concurrent_reuse_count,
                idle_timeout: own.idle_instance_timeout,
                request_timeout: own.request_timeout,
                busy_timeout: own.busy_timeout,
                max_memory_bytes: usize::try_from(own.max_instance_memory).unwrap_or(usize::MAX),
            },
            max_in_flight: self.edge.max_in_flight,
            max_call_depth: own.max_call_depth,
            target_latency: self.edge.target_latency,
            max_waits: self.edge.max_waits,
            health_path: self.edge.health_path.clone(),
            deliveries_prefix: self.edge.deliveries_prefix.clone(),
            wants_deliveries: self.deliveries_listen.is_some(),
        }
    }

    pub(crate) fn server_limits(&self) -> ServerLimits {
        let own = &self.edge;
        ServerLimits {
            deliveries_hosts: own.deliveries_hosts.iter().map(|name| name.trim().to_owned()).collect(),
            max_connections: own.max_connections,
            max_connections_per_address: own.max_connections_per_address,
            max_held_bytes: own.max_held_bytes,
            max_header_bytes: usize::try_from(own.max_header_bytes).unwrap_or(usize::MAX),
            max_headers: own.max_headers,
            max_body_bytes: own.max_body_bytes,
            header_timeout: own.header_timeout,
            body_timeout: own.body_timeout,
            write_timeout: own.write_timeout,
            answer_timeout: own.answer_timeout,
        }
    }
}

/// Parses an address or a host name, each with a port. A name of this machine means its IPv4 address, as tools expect.
fn address(text: &str) -> Result<SocketAddr, String> {
    let addresses =
        text.to_socket_addrs().map_err(|error| format!("write an address and a port, 127.0.0.1:3000: {error}"))?;
    let addresses: Vec<_> = addresses.collect();
    let local = addresses.iter().find(|address| address.ip() == Ipv4Addr::LOCALHOST);
    local.or(addresses.first()).copied().ok_or_else(|| "the name has no address".into())
}

/// Parses a number with one of these units and their factors. A number without a unit is an error.
fn with_unit<'a>(text: &'a str, units: &'a [(&'a str, u64)]) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let value = number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(*factor));
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    value.ok_or_else(|| format!("write a whole number and a unit ({}), such as 10{}", names(), units[0].0))
}

fn duration(text: &str) -> Result<Duration, String> {
    with_unit(text, &[("s", 1000), ("ms", 1), ("m", 60_000), ("h", 3_600_000)]).map(Duration::from_millis)
}

fn bytes(text: &str) -> Result<u64, String> {
    with_unit(text, &[("MiB", 1 << 20), ("KiB", 1 << 10), ("GiB", 1 << 30), ("B", 1)])
}

fn header_bytes(text: &str) -> Result<u64, String> {
    /// The smallest buffer that hyper takes for a request's head.
    const MIN_HEADER_BYTES: u64 = 8 << 10;
    bytes(text).and_then(|size| if size < MIN_HEADER_BYTES { Err("must be at least 8KiB".into()) } else { Ok(size) })
}

fn at_least_one(text: &str) -> Result<usize, String> {
    // The maximum keeps sums and tokio's semaphores from overflowing.
    match text.parse() {
        Ok(number) if (1..=usize::MAX >> 8).contains(&number) => Ok(number),
        _ => Err("must be a whole number, at least 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
        let options = Options::try_parse_from(["towpath-host"]).unwrap();
        assert_eq!(options.listen.to_string(), "127.0.0.1:3000", "only this machine, unless someone says otherwise");
        assert_eq!(options.instances.max_instance_reuse_count, 128);
        assert_eq!(options.instances.max_instance_concurrent_reuse_count, 16);
        assert_eq!(options.instances.idle_instance_timeout, Duration::from_secs(1));
    }

    #[test]
    fn an_address_may_be_a_name() {
        assert_eq!(address("localhost:3000").map(|address| address.to_string()), Ok("127.0.0.1:3000".to_owned()));
        assert_eq!(address("[::1]:80").map(|address| address.to_string()), Ok("[::1]:80".to_owned()));
        assert!(address("127.0.0.1").is_err() && address("nowhere.invalid:1").is_err());
    }

    #[test]
    fn units_are_needed() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(bytes("10MiB"), Ok(10 << 20));
        for wrong in ["5", "s", "-1s", "1.5s", "5 s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(bytes("10MB").is_err());
        assert!(header_bytes("4KiB").is_err());
    }
}
