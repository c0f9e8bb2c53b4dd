//! Instances and how long they live. wasmtime's request handler has one queue per component and as many workers, each
//! with an instance, as requests need; here stands when a worker takes another request and when it goes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::InstanceLimits;
use super::busy::Busy;
use super::instance::{ComponentContext, InstanceState};
use crate::admission::Working;

/// A request's place among those that may be in flight. It is free again when both the component is done and the last
/// byte of the answer is sent.
pub(crate) type Slot = Arc<OwnedSemaphorePermit>;

/// What goes with a request into the component.
#[derive(Debug)]
pub(crate) struct Caller {
    /// How many components stand between the client and this one.
    pub(crate) depth: u8,
    /// For a request from outside: the place it takes. A call between components stands in its caller's.
    pub(crate) slot: Option<Slot>,
    /// For a request from outside: that it is at work, which it is at least until the component is done.
    pub(crate) working: Option<Arc<Working>>,
}

/// Makes instances of one component.
pub(crate) struct Instances {
    pre: ServicePre<InstanceState>,
    context: Arc<ComponentContext>,
    limits: InstanceLimits,
}

impl Instances {
    pub(super) fn new(pre: ServicePre<InstanceState>, context: Arc<ComponentContext>, limits: InstanceLimits) -> Self {
        Self { pre, context, limits }
    }

    /// The component's id.
    pub(crate) fn component(&self) -> &Arc<str> {
        &self.context.id
    }
}

impl HandlerState for Instances {
    type StoreData = InstanceState;
    type WorkerExpiration = Expiration;
    type WorkerState = Worker;

    async fn instantiate(&self) -> wasmtime::Result<Instance<InstanceState, Expiration, Worker>> {
        let busy = Arc::new(Busy::default());
        let state = InstanceState::new(self.context.clone(), busy.clone(), self.limits.max_memory);
        let mut store = Store::new(self.pre.engine(), state);
        store.limiter(|state| &mut state.memory);
        let busy_timeout = self.limits.busy_timeout;
        store.epoch_deadline_callback(move |store| store.data().busy.tick(busy_timeout));
        store.set_epoch_deadline(1);
        let proxy = Proxy::P3(self.pre.instantiate_async(&mut store).await?);
        Ok(Instance {
            store,
            proxy,
            view: InstanceState::edge_http,
            expiration: Expiration {
                idle_timeout: self.limits.idle_timeout,
                request_timeout: self.limits.request_timeout,
                busy,
                sleep: tokio::time::sleep(self.limits.idle_timeout),
            },
            state: Worker { component: self.context.id.clone(), limits: self.limits.clone() },
        })
    }
}

pin_project! {
    /// Ends an instance that has no work, or that is stuck.
    pub(crate) struct Expiration {
        idle_timeout: Duration,
        request_timeout: Duration,
        busy: Arc<Busy>,
        #[pin]
        sleep: Sleep,
    }
}

/// How long after a request's own timeout a whole instance is ended. The request's timeout answers the client and lets
/// the instance's other requests finish; this is for an instance in which not even that comes to pass.
const STUCK_AFTER: Duration = Duration::from_secs(1);

impl WorkerExpiration for Expiration {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        let mut this = self.project();
        // wasmtime asks whenever the instance gives up its thread.
        this.busy.gave_up_thread();
        let limit = match status {
            WorkerStatus::Idle => *this.idle_timeout,
            // What a component does after its answer's head, its body included, has as long as the head had.
            WorkerStatus::Requests | WorkerStatus::PostReturn => this.request_timeout.saturating_add(STUCK_AFTER),
        };
        let Some(deadline) = start.checked_add(limit).map(Into::into) else { return Poll::Pending };
        if deadline != this.sleep.deadline() {
            this.sleep.as_mut().reset(deadline);
        }
        this.sleep.poll(cx)
    }
}

/// One instance at work.
pub(crate) struct Worker {
    component: Arc<str>,
    limits: InstanceLimits,
}

impl WorkerState for Worker {
    type StoreData = InstanceState;
    type RequestData = Caller;

    fn should_accept_request(&self, concurrent_count: usize, total_count: usize) -> ShouldAccept {
        if total_count >= self.limits.max_reuse {
            ShouldAccept::Never
        } else if concurrent_count >= self.limits.max_concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        mut store: StoreContextMut<'_, InstanceState>,
        caller: Caller,
        task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + Sync>> {
        // One whole tick before the first interruption, however long the instance has rested.
        store.set_epoch_deadline(2);
        let state = store.data_mut();
        state.busy.begin();
        state.depths.begin(task, caller.depth);
        let timeout = tokio::time::sleep(self.limits.request_timeout);
        Box::pin(async move {
            let _until_done = (caller.slot, caller.working);
            timeout.await;
        })
    }

    fn drop(&self, store: Store<InstanceState>, result: Result<(), wasmtime::Error>) {
        let used_bytes = store.data().memory.used_bytes;
        drop(store);
        match result {
            Ok(()) => tracing::debug!(component = %self.component, used_bytes, "instance ended"),
            Err(error) => {
                let cause = error.root_cause();
                tracing::error!(component = %self.component, used_bytes, "instance failed, and every request in it: {cause}");
                tracing::debug!(component = %self.component, "{error:?}");
            }
        }
    }
}
