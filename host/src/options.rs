//! The command line, and the meaning of every limit.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::application;
use crate::engine::InstanceLimits;
use crate::server::ServerLimits;

/// Runs a Spin application (spin.toml, version 2) on an embedded wasmtime.
///
/// It serves what Spin 4.1 serves for components of WASI HTTP 0.3 (spin-sdk 7): routes, calls between components,
/// allowed hosts, variables. What it does not do (key-value stores, SQLite, files, ...) it refuses by name.
///
/// Variables come from SPIN_VARIABLE_<NAME> in the environment, then from .env beside the manifest, then from the
/// manifest's defaults. When it accepts connections it prints `listening http://ADDRESS`; the log goes to stderr.
#[derive(Clone, Debug, Parser)]
#[command(name = "towpath-host", version, after_long_help = EXAMPLES, max_term_width = 120)]
pub struct Options {
    /// The application
    #[arg(long, short = 'f', value_name = "FILE", default_value = "spin.toml")]
    pub manifest: PathBuf,

    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000", value_parser = address)]
    pub listen: SocketAddr,

    /// Where compiled code is kept from one start to the next [default: wasmtime's cache folder in the user's home]
    #[arg(long, value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,

    /// Read the manifest, settle the variables, compile the components, and stop there
    #[arg(long)]
    pub check: bool,

    /// How the log is written; what is in it, RUST_LOG says
    #[arg(long, value_enum, default_value_t = LogFormat::Pretty)]
    pub log_format: LogFormat,

    /// How long requests in flight may take when the host is told to stop; a second signal cuts them off at once
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub drain_timeout: Duration,

    /// What instances may use.
    #[command(flatten)]
    pub instances: InstanceOptions,

    /// What clients may do.
    #[command(flatten)]
    pub edge: EdgeOptions,
}

/// Limits of the components.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Components")]
pub struct InstanceOptions {
    /// Instances that live at once, of all components together
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_instances: u32,

    /// Memory of one instance; one that asks for more is refused it, which ends most components
    #[arg(long, value_name = "SIZE", default_value = "128MiB", value_parser = bytes)]
    pub max_instance_memory: u64,

    /// Requests that an instance takes in its life
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = at_least_one)]
    pub max_instance_reuse_count: usize,

    /// Requests that an instance takes at once, while those before it wait
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one)]
    pub max_instance_concurrent_reuse_count: usize,

    /// How long an instance without work is kept
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = duration)]
    pub idle_instance_timeout: Duration,

    /// How long a component may take for the head of its answer (504 after it), and then as long for the rest
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub request_timeout: Duration,

    /// How long a component may compute without waiting for anything (it is ended after it, 500)
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    pub busy_timeout: Duration,

    /// How many components deep calls between components may go
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub max_call_depth: u8,
}

/// Limits of the clients.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Clients")]
pub struct EdgeOptions {
    /// Requests in flight on each route; more are answered 503 with Retry-After
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    pub max_in_flight: usize,

    /// How long an answer should take: where the median takes longer, fewer requests of its kind are let in at once, and
    /// more are answered 503 with Retry-After; 0s never refuses any for being slow
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = duration)]
    pub target_latency: Duration,

    /// Paths below this prefix are served however slow they are and however many clients there are: for callers that
    /// bound themselves. May be given again
    #[arg(long, value_name = "PATH")]
    pub steady_prefix: Vec<String>,

    /// Connections at once; a few hundred more are answered 503 with Retry-After, and further ones wait
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = at_least_one)]
    pub max_connections: usize,

    /// Size of a request's line and headers (431 beyond)
    #[arg(long, value_name = "SIZE", default_value = "64KiB", value_parser = header_bytes)]
    pub max_header_bytes: u64,

    /// Headers of a request (431 beyond)
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    pub max_headers: usize,

    /// Size of a request's body (413 beyond)
    #[arg(long, value_name = "SIZE", default_value = "10MiB", value_parser = bytes)]
    pub max_body_bytes: u64,

    /// How long a client may take to send a request's head, and how long a connection may rest between requests
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub header_timeout: Duration,

    /// How long a client may take to send a request's body (408 after it)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub body_timeout: Duration,

    /// How long a client may take no piece of an answer that is there (its connection is closed after it)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub write_timeout: Duration,

    /// How long a client may take to receive a whole answer, from its first byte on (its connection is closed after it)
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = duration)]
    pub answer_timeout: Duration,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  towpath-host                                   serve ./spin.toml on 127.0.0.1:3000
  towpath-host --check -f shop/spin.toml         say everything that is wrong with an application
  SPIN_VARIABLE_RELAY_URL=http://127.0.0.1:7070 towpath-host --listen 127.0.0.1:0
  RUST_LOG=towpath_host=debug,guest=info towpath-host --log-format json

Exit status:
  0  stopped by SIGTERM or SIGINT, every request answered
  1  could not start, or failed
  2  stopped, and some requests were cut off (--drain-timeout passed, or a second signal)
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
                max_memory: usize::try_from(own.max_instance_memory).unwrap_or(usize::MAX),
            },
            max_in_flight: self.edge.max_in_flight,
            max_call_depth: own.max_call_depth,
            target_latency: self.edge.target_latency,
            steady_prefixes: self.edge.steady_prefix.clone(),
        }
    }

    pub(crate) fn server_limits(&self) -> ServerLimits {
        let own = &self.edge;
        ServerLimits {
            max_connections: own.max_connections,
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

/// An address, or a name for one. A name that means this machine means its IPv4 address, which tools expect.
fn address(text: &str) -> Result<SocketAddr, String> {
    let addresses =
        text.to_socket_addrs().map_err(|error| format!("write an address and a port, 127.0.0.1:3000: {error}"))?;
    let addresses: Vec<_> = addresses.collect();
    let local = addresses.iter().find(|address| address.ip() == Ipv4Addr::LOCALHOST);
    local.or(addresses.first()).copied().ok_or_else(|| "it has no address".into())
}

/// A number with a unit, taken apart. A bare number says nothing about its unit, so it is refused.
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

/// hyper keeps a request's head in a buffer of at least 8 KiB.
fn header_bytes(text: &str) -> Result<u64, String> {
    bytes(text).and_then(|size| if size < 8 << 10 { Err("must be at least 8KiB".into()) } else { Ok(size) })
}

fn at_least_one(text: &str) -> Result<usize, String> {
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
