//! Redis: one server, nothing on disk.
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::FutureExt;
use towpath_stack::home::write_atomically;
use towpath_stack::programs;
use towpath_stack::state::StopSignal;

use super::Place;
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Tier};

pub(crate) fn part(place: &Place, port: u16, password: &str) -> Result<PartSpec> {
    let file = place.home.run().join("redis.conf");
    let folder = place.home.data().join("redis");
    // A file for this user alone, since a command line is there for all to see.
    let config = format!(
        "include {}\nport {port}\ndir {}\nrequirepass {password}\n",
        quoted(&place.native.join("redis.conf")),
        quoted(&folder),
    );
    let launch = Launch::new(programs::redis()?).args([&file]);
    Ok(PartSpec {
        name: "redis".to_owned(),
        address: format!("127.0.0.1:{port}"),
        tier: Tier::Server,
        after: Vec::new(),
        prepare: Some(Arc::new(move || {
            let (file, folder, config) = (file.clone(), folder.clone(), config.clone());
            async move {
                std::fs::create_dir_all(&folder)?;
                std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
                write_atomically(&file, &config, 0o600)
            }
            .boxed()
        })),
        launch,
        variables: None,
        probe: Probe::Redis { address: format!("127.0.0.1:{port}"), password: password.to_owned() },
        ready_deadline: Duration::from_secs(30),
        stop_signal: StopSignal::Terminate,
        stop_deadline: Duration::from_secs(10),
        log: place.home.log("redis"),
    })
}

fn quoted(path: &std::path::Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
