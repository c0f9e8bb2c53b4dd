//! The command line of `up`.
use anyhow::{Result, anyhow};
use clap::ValueEnum as _;
use towpath_stack::ports::parse_assignment;
use towpath_stack::replica;
use towpath_stack::state::Servers;

use crate::edge::Runtime;
use crate::plan::Choice;

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "Examples:
  towpath up                        everything, in the foreground: Ctrl-C stops it, the data stays
  towpath up --detach               everything, in the background: `towpath down` stops it
  towpath up --ports auto           on free ports, beside another program that uses the default ones
  towpath up --port host=8080       another port for one part
  towpath up --replicas 2           two pairs of relay and host, as two pods would be
  towpath up --no-host              all but the host; then `spin up` in the checkout, in another terminal
  towpath up --runtime spin         the same in one command, where Spin 4.1 is installed
  towpath up --servers compose      PostgreSQL, Kafka and Redis in containers, where Docker is installed

A second `up` on a running stack says so, shows its parts, and exits with status 0; one that asks for something else (more
replicas, another port) is refused, and says how to get it. One with --detach beside an `up` that is still starting waits for it.
Ports: host 3000 and 3100 (host-deliveries: the relay alone calls it), relay 7070 and 7071 (relay-admin), postgres-product 5433, postgres-order 5434, postgres-payment 5435,
postgres-inventory 5436, kafka 9092, kafka-external 29092, kafka-controller 9093, redis 6379; of a second replica host-2
3001 and 3101 (host-deliveries-2), relay-2 7072 and 7073 (relay-admin-2), and so on. Everything listens on 127.0.0.1 only: there are no logins yet.
The components' compiler: TOWPATH_WASM_TOOLCHAIN=rustup adds the target wasm32-wasip2 with rustup, =debian takes it from
Debian's packages, =auto (the default) tries the first and falls back to the second.")]
pub(crate) struct Args {
    /// Start in the background, and return once everything is ready
    #[arg(long, short)]
    pub(super) detach: bool,
    /// Start no host: you run `spin up` yourself, with the .env that this writes into the checkout
    #[arg(long, conflicts_with = "runtime")]
    pub(super) no_host: bool,
    /// The runtime of the components [default: what TOWPATH_RUNTIME says, or embedded]
    #[arg(long, value_enum)]
    pub(super) runtime: Option<Runtime>,
    /// Number of pairs of relay and host: each host calls its own relay, each relay delivers to its own host [default: 1]
    #[arg(long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=i64::from(replica::MAX_REPLICAS)))]
    pub(super) replicas: Option<u8>,
    /// How PostgreSQL, Kafka and Redis run [default: native]
    #[arg(long, value_enum)]
    pub(super) servers: Option<ServersChoice>,
    /// The default ports, or free ones, which every `up` uses again until one with `--ports default` [default: as the last]
    #[arg(long, value_enum, env = "TOWPATH_PORTS", hide_env_values = true)]
    pub(super) ports: Option<PortChoice>,
    /// Another port for one part; can be repeated
    #[arg(long, value_name = "NAME=PORT", value_parser = parse_assignment)]
    pub(super) port: Vec<(String, u16)>,
    /// Run the components as they were built last
    #[arg(long)]
    pub(super) no_build: bool,
    /// For throw-away data: the servers don't wait for the disk
    #[arg(long, hide = true, env = "TOWPATH_THROW_AWAY", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) throw_away: bool,
    /// What `--detach` starts
    #[arg(long, hide = true, conflicts_with = "detach")]
    pub(super) in_background: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PortChoice {
    Default,
    Auto,
}

/// [`Servers`], as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ServersChoice {
    /// Debian's PostgreSQL and Redis, Apache Kafka's jars: processes on this machine
    Native,
    /// The containers of infra/compose/compose.yaml
    Compose,
}

impl Args {
    /// With what the environment says. It is no matter of clap's: a command line with --no-host is none with --runtime.
    pub(super) fn with_environment(self) -> Result<Self> {
        let asked = std::env::var(Runtime::VARIABLE).ok().filter(|asked| !asked.is_empty() && !self.no_host);
        let asked = asked.map(|asked| {
            Runtime::from_str(&asked, false)
                .map_err(|_| anyhow!("{} is {asked:?}: it can be embedded or spin", Runtime::VARIABLE))
        });
        Ok(Self { runtime: self.runtime.or(asked.transpose()?), ..self })
    }

    pub(super) fn servers(&self) -> Servers {
        match self.servers {
            None | Some(ServersChoice::Native) => Servers::Native,
            Some(ServersChoice::Compose) => Servers::Compose,
        }
    }

    pub(super) fn replicas(&self) -> usize {
        self.replicas.unwrap_or(1).into()
    }

    pub(super) fn choice(&self) -> Choice {
        let runtime = (!self.no_host).then_some(self.runtime.unwrap_or(Runtime::Embedded));
        Choice { servers: self.servers(), runtime, replicas: self.replicas(), throw_away: self.throw_away }
    }
}
