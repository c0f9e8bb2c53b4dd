//! Redis forgets everything, and stays: the cache, the buckets of the rate limit, the versions of cache tags.
//!
//! What a restart can't show (`kill-redis` is one) is that the connections stand and nobody has a reason to doubt what
//! was there a moment ago.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use rand::rngs::StdRng;

use crate::fault::{Fault, Struck};
use crate::group::Group;
use crate::stage::Stage;

/// FLUSHALL.
pub(super) struct Emptied;

impl Fault for Emptied {
    fn name(&self) -> String {
        "redis-emptied".to_owned()
    }

    fn group(&self) -> Group {
        Group::RedisEmptied
    }

    fn about(&self) -> String {
        "FLUSHALL: Redis loses all that it holds".to_owned()
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn strike<'a>(&'a self, stage: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
        Box::pin(async move {
            let redis = redis::Client::open(stage.running()?.redis_url())?;
            let mut connection = redis.get_multiplexed_async_connection().await.context("cannot reach Redis")?;
            let keys: u64 = redis::cmd("DBSIZE").query_async(&mut connection).await?;
            redis::cmd("FLUSHALL").arg("SYNC").query_async::<()>(&mut connection).await?;
            Ok(Struck::noted(format!("Redis lost {keys} keys")))
        })
    }
}
