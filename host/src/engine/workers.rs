//! Makes instances and decides how long they live. wasmtime's request handler keeps one queue of requests per component
//! and starts workers, each with one instance; the types here tell it when a worker takes another request and when it
//! ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, ProxyPre, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};

use super::busy::Busy;
use super::instance::{ComponentContext, InstanceState};
use super::limits::InstanceLimits;
use crate::admission::Working;
use crate::outbound::Origin;
use crate::waits::WaitPlace;

/// A request's place. It is given back once the component is done and the response is complete.
pub(crate) type Place = Arc<PlaceKind>;

/// The places that requests have.
#[derive(Debug)]
#[expect(dead_code, reason = "they are held, and never read")]
pub(crate) enum PlaceKind {
    /// Among the requests in flight of a route.
    InFlight(OwnedSemaphorePermit),
    /// Among the requests that wait.
    Wait(WaitPlace),
}

/// What the host knows about the caller of a component.
#[derive(Debug)]
pub(crate) struct Caller {
    /// For whom the component works; its calls fail once nobody waits for the response any more, so that it ends.
    origin: Origin,
    /// Held until the component is done. `None` for a call between components, which runs at its caller's place.
    place: Option<Place>,
    /// Held until the component is done, for requests that admission counts.
    working: Option<Arc<Working>>,
}

impl Caller {
    /// A client.
    pub(crate) fn client(place: Place, working: Option<Arc<Working>>, ended: CancellationToken) -> Self {
        Self { origin: Origin { depth: 0, ended }, place: Some(place), working }
    }

    /// Another component.
    pub(crate) fn component(origin: Origin) -> Self {
        Self { origin, place: None, working: None }
    }
}

/// Makes the instances of one component.
pub(crate) struct Instances {
    pre: ProxyPre<InstanceState>,
    context: Arc<ComponentContext>,
    limits: InstanceLimits,
}

impl Instances {
    pub(crate) fn new(
        pre: ProxyPre<InstanceState>,
        context: Arc<ComponentContext>,
        mut limits: InstanceLimits,
    ) -> Self {
        if matches!(pre, ProxyPre::P2(_)) {
            // A component of WASI 0.2 can't be entered while it handles a request, and its SDKs may rely on a new instance
            // for each: Spin makes one.
            (limits.max_reuse, limits.max_concurrent) = (1, 1);
        }
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
        let state = InstanceState::new(self.context.clone(), busy.clone(), self.limits.max_memory_bytes);
        let engine = match &self.pre {
            ProxyPre::P2(pre) => pre.engine(),
            ProxyPre::P3(pre) => pre.engine(),
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.memory);
        let busy_timeout = self.limits.busy_timeout;
        store.epoch_deadline_callback(move |store| store.data().busy.tick(busy_timeout));
        store.set_epoch_deadline(1);
        let proxy = self.pre.instantiate_async(&mut store).await?;
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
    /// Ends an instance that is idle or stuck.
    pub(crate) struct Expiration {
        idle_timeout: Duration,
        request_timeout: Duration,
        busy: Arc<Busy>,
        #[pin]
        sleep: Sleep,
    }
}

/// An instance ends this long after a request timeout that it did not react to. The request timeout itself answers the
/// client with 504 and lets the other requests of the instance finish; wasmtime may not get to poll it.
const STUCK_GRACE: Duration = Duration::from_secs(1);

impl WorkerExpiration for Expiration {
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        let mut this = self.project();
        // wasmtime polls this whenever the instance gives up its thread.
        this.busy.gave_up_thread();
        let limit = match status {
            WorkerStatus::Idle => *this.idle_timeout,
            // After the head of its response, a component may take as long again, with the body and all other work.
            WorkerStatus::Requests | WorkerStatus::PostReturn => this.request_timeout.saturating_add(STUCK_GRACE),
        };
        let Some(deadline) = start.checked_add(limit).map(Into::into) else { return Poll::Pending };
        if deadline != this.sleep.deadline() {
            this.sleep.as_mut().reset(deadline);
        }
        this.sleep.poll(cx)
    }
}

/// One instance.
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
        // Two ticks ahead, so that the first interruption comes after one whole tick of computing.
        store.set_epoch_deadline(2);
        let state = store.data_mut();
        state.busy.begin();
        state.origins.begin(task, caller.origin);
        let timeout = tokio::time::sleep(self.limits.request_timeout);
        Box::pin(async move {
            let _until_done = (caller.place, caller.working);
            timeout.await;
        })
    }

    fn drop(&self, store: Store<InstanceState>, result: Result<(), wasmtime::Error>) {
        let used_bytes = store.data().memory.used_bytes;
        drop(store);
        match result {
            Ok(()) => tracing::debug!(component = %self.component, used_bytes, "instance ended"),
            Err(error) => {
                let (component, cause) = (&self.component, error.root_cause());
                tracing::error!(%component, used_bytes, error = %cause, "instance failed, with every request in it");
                tracing::debug!(%component, ?error, "instance failed: the whole error");
            }
        }
    }
}
