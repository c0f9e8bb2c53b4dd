//! Watches the machine itself. While it stands still no part answers in time: the disk of a virtual machine may take seconds
//! for one write, and its processors may be taken by another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::{JoinSet, spawn_blocking};

use super::record::{Record, Resource};

/// How often this program asks whether it is late itself.
const TICK: Duration = Duration::from_millis(20);
/// How often the disk is asked to write.
const WRITE_EVERY: Duration = Duration::from_millis(100);
/// What one write takes at most on a disk that goes on.
const MAX_WRITE: Duration = Duration::from_millis(100);
/// One page, as a commit's.
const PAGE: [u8; 8192] = [0; 8192];

/// Watches the machine until it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    _watches: JoinSet<()>,
}

impl Machine {
    /// Begins to watch the processor, and the disk that has this folder.
    ///
    /// # Errors
    /// Where the folder takes no file.
    pub(crate) fn watch(folder: &Path, record: &Arc<Record>) -> Result<Self> {
        let path = folder.join("chaos.disk");
        let file = File::create(&path).with_context(|| format!("{} can't be written", path.display()))?;
        // Without a name it is gone with this program, however that ends.
        fs::remove_file(&path).with_context(|| format!("{} can't be removed", path.display()))?;
        let mut watches = JoinSet::new();
        watches.spawn(watch_the_clock(Arc::clone(record)));
        watches.spawn(watch_the_disk(Arc::new(file), Arc::clone(record)));
        Ok(Self { _watches: watches })
    }
}

/// Writes down when this program is late itself: what it then sees as slow may not be.
async fn watch_the_clock(record: Arc<Record>) {
    loop {
        let begun = Instant::now();
        tokio::time::sleep(TICK).await;
        let late = begun.elapsed().saturating_sub(TICK);
        if late > TICK {
            record.lacked(Resource::Processor, late);
        }
    }
}

/// Writes down when the disk takes long for as little as a commit writes.
async fn watch_the_disk(file: Arc<File>, record: Arc<Record>) {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        let (file, begun) = (Arc::clone(&file), Instant::now());
        let written = spawn_blocking(move || -> io::Result<()> {
            file.write_all_at(&PAGE, 0)?;
            file.sync_data()
        });
        // A disk that is full or broken isn't slow: the databases on it will tell.
        let Ok(Ok(())) = written.await else { return };
        let took = begun.elapsed();
        if took > MAX_WRITE {
            record.lacked(Resource::Disk, took);
        }
    }
}
