//! Builds the components: finds or installs a compiler for their target, and runs cargo.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::Command;
use towpath_stack::checkout;
use towpath_stack::services::Services;
use towpath_stack::terminal::say;

use crate::group;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "component";
/// Timeout for `rustup target add`: seconds where the network reaches it.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(90);
/// `TOWPATH_WASM_TOOLCHAIN`.
const SWITCH: &str = "TOWPATH_WASM_TOOLCHAIN";

/// Where the compiler for the components comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Auto,
    Rustup,
    Debian,
}

/// The environment with which cargo finds that compiler: empty for rustup's.
type Toolchain = BTreeMap<String, String>;

/// The folder of the built components.
pub(crate) fn built(root: &Path) -> PathBuf {
    root.join("target/wasm").join(TARGET).join(PROFILE)
}

/// Builds these packages for the edge, as far as they have changed, and tells the size of each.
pub(crate) async fn build(root: &Path, packages: &[&str]) -> Result<()> {
    let toolchain = toolchain(root).await?;
    share_target_folder(root)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--profile", PROFILE, "--target", TARGET, "--target-dir", "target/wasm"]);
    for package in packages {
        cargo.args(["-p", package]);
    }
    // What is set for the native build is not for this one, which has a compiler of its own.
    cargo
        .envs(&toolchain)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = group::status(&mut cargo).await.context("cannot run cargo: is rustup's folder in PATH?")?;
    if !status.success() {
        bail!("the components don't build ({status}): see above");
    }
    let size_of = |package: &&str| {
        let file = built(root).join(format!("{}.wasm", package.replace('-', "_")));
        size(package.trim_start_matches("towpath-"), &file)
    };
    let sizes: Vec<String> = packages.iter().map(size_of).collect::<Result<_>>()?;
    say(&format!("Components: {}", sizes.join(", ")));
    Ok(())
}

/// Builds the components of another application, each by the build command that spin.toml gives it, as `spin build` does.
pub(crate) async fn build_application(root: &Path, application: &Path, services: &Services) -> Result<()> {
    let mut compiler = None;
    let mut sizes = Vec::new();
    for component in services.components() {
        if let Some(build) = &component.build {
            let mut command = Command::new("sh");
            command.args(["-c", build]).current_dir(application.join(&component.folder));
            if build.split_whitespace().next() == Some("cargo") {
                let found = match compiler.take() {
                    Some(found) => found,
                    None => toolchain(root).await?,
                };
                command.envs(compiler.insert(found));
            }
            // spin.toml says where the component is afterwards; what is set for Towpath's own build would change that.
            command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTC_WORKSPACE_WRAPPER");
            command.stdin(Stdio::null()).stdout(Stdio::null());
            let status = group::status(&mut command).await.context("cannot run sh")?;
            if !status.success() {
                bail!("the component {} doesn't build (`{build}`: {status}): see above", component.name);
            }
        }
        sizes.push(size(&component.name, &application.join(&component.source))?);
    }
    say(&format!("Components: {}", sizes.join(", ")));
    Ok(())
}

fn size(name: &str, file: &Path) -> Result<String> {
    let bytes = file.metadata().with_context(|| format!("{} was not built", file.display()))?.len();
    Ok(format!("{name} {} kB", bytes.div_ceil(1000)))
}

/// spin.toml says `target/wasm`. Where the native build goes elsewhere (`CARGO_TARGET_DIR`), the components go there too,
/// and a link stands in the checkout: so a cache of that folder holds both.
fn share_target_folder(root: &Path) -> Result<()> {
    let Some(elsewhere) = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) else { return Ok(()) };
    let (wanted, link) = (std::path::absolute(&elsewhere)?.join("wasm"), root.join("target/wasm"));
    if wanted == link || link.symlink_metadata().is_ok() {
        return Ok(());
    }
    std::fs::create_dir_all(&wanted)?;
    std::fs::create_dir_all(root.join("target"))?;
    std::os::unix::fs::symlink(&wanted, &link)
        .with_context(|| format!("cannot link {} to {}", link.display(), wanted.display()))
}

async fn toolchain(root: &Path) -> Result<Toolchain> {
    let choice = parse(std::env::var(SWITCH).ok().as_deref())?;
    if choice != Choice::Debian && rustup_has_target().await {
        return Ok(Toolchain::new());
    }
    match choice {
        Choice::Rustup => rustup(root).await,
        Choice::Debian => debian(root).await,
        // After one fallback, don't wait again for rustup to fail.
        Choice::Auto if debian_folder()?.join(".done").exists() => debian(root).await,
        Choice::Auto => match rustup(root).await {
            Ok(toolchain) => Ok(toolchain),
            Err(error) => {
                say(&format!("{error:#}. Taking the compiler from Debian's packages instead ({SWITCH}=debian)."));
                debian(root).await
            }
        },
    }
}

fn parse(value: Option<&str>) -> Result<Choice> {
    match value {
        None | Some("" | "auto") => Ok(Choice::Auto),
        Some("rustup") => Ok(Choice::Rustup),
        Some("debian") => Ok(Choice::Debian),
        Some(other) => bail!("{SWITCH} is {other:?}: it can be auto, rustup or debian"),
    }
}

async fn rustup_has_target() -> bool {
    let list = Command::new("rustup").args(["target", "list", "--installed"]).stdin(Stdio::null()).output().await;
    list.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).lines().any(|line| line == TARGET))
}

async fn rustup(root: &Path) -> Result<Toolchain> {
    say(&format!("Adding the target {TARGET} to rustup's toolchain (what the components are compiled to)"));
    let mut command = Command::new("rustup");
    command.args(["target", "add", TARGET]).current_dir(root).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::time::timeout(RUSTUP_PATIENCE, group::output(&mut command)).await;
    let output = output
        .with_context(|| format!("`rustup target add {TARGET}` took longer than {} s", RUSTUP_PATIENCE.as_secs()))?
        .context("cannot run rustup: install it from https://rustup.rs")?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let cause = text.lines().find(|line| line.starts_with("error")).unwrap_or("it says nothing").to_owned();
        bail!("`rustup target add {TARGET}` failed: {cause}");
    }
    Ok(Toolchain::new())
}

fn debian_folder() -> Result<PathBuf> {
    Ok(checkout::cache()?.join("wasm-toolchain"))
}

/// Runs the script that assembles it; it knows by itself when there is nothing to do.
async fn debian(root: &Path) -> Result<Toolchain> {
    let folder = debian_folder()?;
    let script = root.join("infra/wasm-toolchain.sh");
    let mut command = Command::new("bash");
    command.arg(&script).env("WASM_TOOLCHAIN_DIR", &folder).stdin(Stdio::null()).stdout(Stdio::null());
    // The build of the standard library must not go to the caller's target folder.
    command.env_remove("CARGO_TARGET_DIR");
    let status = group::status(&mut command).await.context("cannot run bash")?;
    if !status.success() {
        bail!("no compiler for {TARGET}: {} failed ({status}), see above", script.display());
    }
    let compiler = folder.join("bin/rustc").display().to_string();
    Ok(Toolchain::from([("RUSTC".to_owned(), compiler)]))
}

#[cfg(test)]
mod tests {
    use towpath_stack::testing;

    use super::*;

    #[test]
    fn the_switch_knows_three_words() {
        assert_eq!(parse(None).unwrap(), Choice::Auto);
        assert_eq!(parse(Some("auto")).unwrap(), Choice::Auto);
        assert_eq!(parse(Some("rustup")).unwrap(), Choice::Rustup);
        assert_eq!(parse(Some("debian")).unwrap(), Choice::Debian);
        let error = parse(Some("nightly")).unwrap_err().to_string();
        assert!(error.contains("nightly") && error.contains("debian"), "{error}");
    }

    /// Each component stands where spin.toml looks for it once its package is built.
    #[test]
    fn spin_toml_finds_what_is_built() {
        for component in testing::services().components() {
            let package = component.package.as_deref().unwrap_or_else(|| panic!("{} is not built", component.name));
            let root = Path::new("/checkout");
            let file = built(root).join(format!("{}.wasm", package.replace('-', "_")));
            assert_eq!(root.join(&component.source), file, "spin.toml: source of {}", component.name);
        }
    }
}
