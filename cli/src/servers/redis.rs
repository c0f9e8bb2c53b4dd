//! Redis: one server, nothing on disk.
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::FutureExt;
use towpath_stack::formats;
use towpath_stack::home::write_atomically;
use towpath_stack::programs;
use towpath_stack::state::StopSignal;

use super::Place;
use crate::supervisor::probe::Probe;
use crate::supervisor::spec::{Launch, PartSpec, Tier};

pub(crate) fn part(place: &Place, port: u16, password: &str) -> Result<PartSpec> {
    let file = place.home.run().join("redis.conf");
    let folder = place.home.data().join("redis");
    let usual = place.native.join("redis.conf");
    // A file for this user alone, since a command line is there for all to see.
    let own = format!(
        "port {port}\ndir {}\nrequirepass {}\n",
        formats::redis(&folder.display().to_string()),
        formats::redis(password),
    );
    let launch = Launch::new(programs::redis()?).args([formats::redis_file(&file)]);
    Ok(PartSpec {
        name: "redis".to_owned(),
        address: format!("127.0.0.1:{port}"),
        tier: Tier::Server,
        after: Vec::new(),
        prepare: Some(Arc::new(move || {
            let (file, folder, usual, own) = (file.clone(), folder.clone(), usual.clone(), own.clone());
            async move {
                std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
                std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
                let usual =
                    std::fs::read_to_string(&usual).with_context(|| format!("cannot read {}", usual.display()))?;
                write_atomically(&file, &format!("{usual}\n# Added by `towpath up`.\n{own}"), 0o600)
            }
            .boxed()
        })),
        launch,
        variables: None,
        probe: Probe::Redis { address: format!("127.0.0.1:{port}"), password: password.to_owned() },
        ready_deadline: Duration::from_secs(30),
        stop_signal: StopSignal::Terminate,
        stop_gently: None,
        stop_deadline: Duration::from_secs(10),
        log: place.home.log("redis"),
    })
}
