//! Installing from Debian's packages, as root or through sudo.
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::programs::in_path;
use towpath_stack::terminal::say;

use super::Need;

/// Without this file's word, Debian's package makes a cluster on port 5432 and starts it.
const CLUSTER_CONFIG: &str = "/etc/postgresql-common/createcluster.conf";

/// Packages' own scripts expect all that a system has, whatever the caller's PATH is.
const SYSTEM_PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

pub(super) async fn install(missing: &[Need]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    let packages = packages.join(" ");
    let Some(apt) = in_path("apt-get") else {
        bail!("missing: {}. Install it with this system's package manager and run this again", listed(missing));
    };
    let Some(privilege) = privilege() else {
        bail!("missing: {}. Run this as root and try again: apt-get install {packages}", listed(missing));
    };
    say(&format!("Installing with apt-get: {}", listed(missing)));
    if packages.contains("postgresql") && !Path::new(CLUSTER_CONFIG).exists() {
        let content = "create_main_cluster = false";
        let script = format!("mkdir -p /etc/postgresql-common && echo '{content}' > {CLUSTER_CONFIG}");
        run(&privilege, "sh", &["-c", &script]).await?;
    }
    let apt = apt.to_string_lossy().into_owned();
    run(&privilege, &apt, &["-o", "DPkg::Lock::Timeout=120", "update", "-qq"]).await?;
    let mut arguments = vec!["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold"];
    arguments.extend(["install", "-y", "-qq", "--no-install-recommends"]);
    arguments.extend(packages.split(' '));
    run(&privilege, &apt, &arguments).await
}

fn listed(missing: &[Need]) -> String {
    let each: Vec<String> =
        missing.iter().map(|need| format!("{} (package {}: {})", need.program, need.package, need.why)).collect();
    each.join(", ")
}

/// What to put before a command that only root may run; none where there is no way to become root.
fn privilege() -> Option<Vec<String>> {
    if rustix::process::geteuid().is_root() {
        return Some(Vec::new());
    }
    in_path("sudo").map(|sudo| vec![sudo.to_string_lossy().into_owned()])
}

async fn run(privilege: &[String], program: &str, arguments: &[&str]) -> Result<()> {
    let mut line: Vec<&str> = privilege.iter().map(String::as_str).collect();
    line.extend(["env", SYSTEM_PATH, "DEBIAN_FRONTEND=noninteractive", program]);
    line.extend(arguments);
    // sudo may ask for a password, so the terminal stays with it. apt's chatter is kept for the case of a failure.
    let output = Command::new(line[0])
        .args(&line[1..])
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {}", line[0]))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!("`{}` failed ({}); its last lines:\n    {}", line.join(" "), output.status, last.join("\n    "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_package_and_reason() {
        let text = listed(&[super::super::POSTGRES, super::super::JAVA]);
        assert!(text.contains("package postgresql: the databases"), "{text}");
        assert!(text.contains("Java 17 or newer (package openjdk-17-jre-headless: Kafka runs on it)"), "{text}");
    }
}
