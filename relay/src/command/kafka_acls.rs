//! `towpath-relay kafka-acls`: what the users of relay.toml must be allowed in Kafka.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::kafka::acls::{Acl, acls, users};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each line is a call of Kafka's own kafka-acls.sh; add --bootstrap-server and --command-config of a user who \
may give rights. `towpath up` gives them by itself.

Example: towpath-relay kafka-acls --config relay.toml"
)]
pub(super) struct Args {
    /// One JSON object per line: user, resource, name, pattern, operation
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: &Config, args: &Args) -> anyhow::Result<()> {
    if users(config).is_empty() {
        eprintln!("relay.toml names no user of Kafka (user and password under [kafka] and [services.NAME.kafka])");
    }
    let all = acls(config);
    if args.json {
        for acl in &all {
            println!("{}", serde_json::to_string(acl)?);
        }
        return Ok(());
    }
    let mut operations: BTreeMap<_, Vec<&Acl>> = BTreeMap::new();
    for acl in &all {
        operations.entry((&acl.user, acl.resource, &acl.name, acl.pattern)).or_default().push(acl);
    }
    for ((user, resource, name, pattern), acls) in operations {
        let operations: Vec<String> = acls.iter().map(|acl| format!("--operation {}", acl.operation)).collect();
        let kind = match resource {
            "Topic" => "--topic",
            "Group" => "--group",
            _ => "--transactional-id",
        };
        println!(
            "kafka-acls.sh --add --allow-principal User:{user} {} {kind} {name} --resource-pattern-type {}",
            operations.join(" "),
            pattern.to_lowercase()
        );
    }
    Ok(())
}
