//! Installs the programs that Towpath needs and doesn't build from Debian's packages, and says what and why.
mod apt;

use anyhow::Result;
use towpath_stack::programs::{in_path, java, postgres, redis};

/// A program and the Debian package that brings it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) program: &'static str,
    pub(crate) package: &'static str,
    pub(crate) why: &'static str,
}

const POSTGRES: Need = Need {
    program: "PostgreSQL 15 or newer",
    package: "postgresql",
    why: "the databases; Debian is told not to create a server of its own",
};
/// Debian's redis-server package would also start a service on Redis's usual port. The program itself is in redis-tools.
const REDIS: Need =
    Need { program: "Redis", package: "redis-tools", why: "cache, rate limits, wake-ups; without Debian's service" };
const JAVA: Need = Need { program: "Java 17 or newer", package: "openjdk-17-jre-headless", why: "Kafka runs on it" };
const MAVEN: Need = Need { program: "mvn", package: "maven", why: "fetches Kafka's jars from Maven Central, once" };
const UTIL_LINUX: Need =
    Need { program: "setpriv", package: "util-linux", why: "no server outlives Towpath, PostgreSQL is not root" };

/// Which servers are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// PostgreSQL, Redis and Java.
    pub(crate) servers: bool,
    /// Maven, since Kafka's jars aren't there yet.
    pub(crate) kafka_jars: bool,
}

/// What of it is missing on this machine.
pub(crate) fn missing(wanted: Wanted) -> Vec<Need> {
    let mut missing = Vec::new();
    let mut need = |there: bool, need: Need| {
        if !there {
            missing.push(need);
        }
    };
    need(in_path("setpriv").is_some(), UTIL_LINUX);
    if wanted.servers {
        need(postgres().is_ok(), POSTGRES);
        need(redis().is_ok(), REDIS);
        need(java().is_ok(), JAVA);
        need(!wanted.kafka_jars || in_path("mvn").is_some(), MAVEN);
    }
    missing
}

/// Installs what is missing.
pub(crate) async fn install(missing: &[Need]) -> Result<()> {
    apt::install(missing).await
}
