//! An application that is loaded: its components, compiled, and its routes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use http::{HeaderValue, Request, Response, Uri};
use wasmtime::PoolConcurrencyLimitError;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::handler::{ExpirationError, InstantiationError, ProxyHandler};

use crate::admission::Admission;
use crate::engine::{self, Caller, ComponentContext, InstanceLimits, Instances, Runtime};
use crate::manifest::{self, Fault, Faults, Manifest, RouteConfig, StaticResponse, Target};
use crate::outbound::allowed::AllowedHosts;
use crate::outbound::{Network, Outbound, chain, remove_hop_by_hop};
use crate::problem::Problem;
use crate::routes::{Captures, Pattern, Router};
use crate::spin_headers::{RouteHeaders, remove_forged};
use crate::variables::Variables;

/// The prefix of the paths that the host answers by itself.
pub(crate) const WELL_KNOWN: &str = "/.well-known/spin/";

/// A loaded application.
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) router: Router<Route>,
    pub(crate) components: Arc<Components>,
    pub(crate) network: Arc<Network>,
}

/// What stands behind a path.
pub(crate) struct Route {
    pub(crate) headers: RouteHeaders,
    pub(crate) target: Target,
    /// How many requests this route may have in flight. Each has its own, so that clients who wait cannot keep the
    /// relay's deliveries out, which they may be waiting for.
    pub(crate) places: Arc<tokio::sync::Semaphore>,
    /// Its callers bound themselves: it is served however many clients there are.
    pub(crate) steady: bool,
    /// How many of them may be at work, so that all are answered in time; no limit where that is not the host's to say.
    pub(crate) admission: Option<Arc<Admission>>,
}

/// What an application is loaded with.
pub(crate) struct Limits {
    pub(crate) instances: InstanceLimits,
    pub(crate) max_in_flight: usize,
    pub(crate) max_call_depth: u8,
    /// Where answers take longer, fewer requests are let in.
    pub(crate) target_latency: Duration,
    /// Paths below these aren't refused for being slow.
    pub(crate) steady_prefixes: Vec<String>,
}

impl Limits {
    fn is_steady(&self, route: &str) -> bool {
        self.steady_prefixes.iter().any(|prefix| route.starts_with(prefix))
    }

    fn admission(&self, route: &str) -> Option<Arc<Admission>> {
        let limited = !self.is_steady(route) && !self.target_latency.is_zero();
        limited.then(|| Arc::new(Admission::new(self.target_latency, self.max_in_flight)))
    }
}

impl Application {
    /// Compiles the components and lays the routes.
    pub(crate) fn load(
        manifest: &Manifest,
        folder: &Path,
        variables: &Variables,
        runtime: &Runtime,
        limits: &Limits,
    ) -> anyhow::Result<Self> {
        let network = Arc::new(Network::new(limits.max_call_depth));
        let loader =
            Loader { manifest, folder, variables, runtime, limits: &limits.instances, network: network.clone() };
        let (mut handlers, mut faults) = (HashMap::new(), Vec::new());
        for (id, component) in &manifest.components {
            match loader.load(id, component) {
                Ok(handler) => drop(handlers.insert(id.clone(), handler)),
                Err(error) => {
                    faults.push(Fault { line: component.line, message: format!("[component.{id}]: {error:#}") });
                }
            }
        }
        if !faults.is_empty() {
            return Err(Faults(faults).into());
        }
        let components = Arc::new(Components { handlers, chained: RouteHeaders::new("/...") });
        let _ = network.components.set(Arc::downgrade(&components));
        let router = lay_routes(manifest, limits);
        Ok(Self { name: manifest.name.clone(), version: manifest.version.clone(), router, components, network })
    }
}

fn lay_routes(manifest: &Manifest, limits: &Limits) -> Router<Route> {
    let mut router = Router::default();
    for trigger in &manifest.triggers {
        let RouteConfig::Public(text) = &trigger.route else { continue };
        let Ok(pattern) = Pattern::parse(text) else { continue };
        if text.starts_with(WELL_KNOWN) {
            tracing::warn!("route {text} is never reached: the host answers below {WELL_KNOWN}");
        }
        let route = Route {
            headers: RouteHeaders::new(text),
            target: trigger.target.clone(),
            places: Arc::new(tokio::sync::Semaphore::new(limits.max_in_flight)),
            steady: limits.is_steady(text),
            admission: limits.admission(text),
        };
        if router.add(pattern, route).is_some() {
            tracing::warn!("route {text} stands in the manifest twice: the last one answers");
        }
    }
    router
}

/// What a component is made from.
struct Loader<'a> {
    manifest: &'a Manifest,
    folder: &'a Path,
    variables: &'a Variables,
    runtime: &'a Runtime,
    limits: &'a InstanceLimits,
    network: Arc<Network>,
}

impl Loader<'_> {
    fn load(&self, id: &str, component: &manifest::Component) -> anyhow::Result<ProxyHandler<Instances>> {
        let started = Instant::now();
        let file = self.folder.join(&component.source);
        if !file.exists() {
            let build = component.build_command.as_deref().map(|command| format!("; build it: {command}"));
            anyhow::bail!("there is no {}{}", file.display(), build.unwrap_or_default());
        }
        let id: Arc<str> = id.into();
        let allowed = self.allowed_hosts(component).map_err(|error| anyhow!("allowed_outbound_hosts: {error}"))?;
        let context = ComponentContext {
            id: id.clone(),
            environment: component.environment.clone().into_iter().collect(),
            variables: self.variables.of_component(component).map_err(|error| anyhow!("variables: {error}"))?,
            outbound: Arc::new(Outbound { component: id.clone(), allowed, network: self.network.clone() }),
        };
        let pre = self.runtime.load(&file)?;
        tracing::debug!(component = %id, took_ms = started.elapsed().as_millis(), "loaded");
        Ok(ProxyHandler::new(engine::instances(pre, context, self.limits.clone())))
    }

    fn allowed_hosts(&self, component: &manifest::Component) -> Result<AllowedHosts, String> {
        let entries = component.allowed_outbound_hosts.iter().map(|entry| self.variables.fill(&entry.value));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let components: Vec<_> = self.manifest.components.keys().cloned().collect();
        AllowedHosts::parse(entries.iter().map(String::as_str), &components)
    }
}

/// The components by their ids.
pub(crate) struct Components {
    handlers: HashMap<String, ProxyHandler<Instances>>,
    /// What a component sees of its route when another component calls it.
    chained: RouteHeaders,
}

impl std::fmt::Debug for Components {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.handlers.keys()).finish()
    }
}

impl Components {
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.handlers.contains_key(id)
    }

    /// Has a component answer a request that another component made.
    pub(crate) async fn call_chained(
        &self,
        id: &str,
        mut request: Request<WasiBody>,
        caller: Caller,
    ) -> Response<WasiBody> {
        let uri = with_scheme_http(request.uri());
        let path = uri.path().to_owned();
        let client = HeaderValue::from_str(&chain::CALLER_ADDRESS.to_string());
        let client = client.unwrap_or(HeaderValue::from_static("0.0.0.0:0"));
        let captures = Captures { named: Vec::new(), rest: &path };
        remove_forged(request.headers_mut());
        self.chained.add(request.headers_mut(), &uri, &captures, client);
        *request.uri_mut() = uri;
        self.call(id, request, caller).await
    }

    /// Has a component answer a request. Whatever happens to the component, there is an answer.
    pub(crate) async fn call(&self, id: &str, request: Request<WasiBody>, caller: Caller) -> Response<WasiBody> {
        let Some(handler) = self.handlers.get(id) else { return Problem::ComponentFailed.into() };
        match handler.handle(caller, request).await {
            Ok(mut response) => {
                remove_hop_by_hop(response.headers_mut());
                response
            }
            Err(error) => explain(handler.state().component(), &error).into(),
        }
    }
}

/// What the client hears of an error, and the log.
fn explain(component: &str, error: &wasmtime::Error) -> Problem {
    if let Some(instantiation) = error.downcast_ref::<InstantiationError<Caller>>() {
        if instantiation.error.is::<PoolConcurrencyLimitError>() {
            tracing::warn!(component, "request refused: no instance is left (--max-instances)");
            return Problem::Overloaded;
        }
        tracing::error!(component, "no instance: {:?}", instantiation.error);
        return Problem::ComponentFailed;
    }
    if error.is::<ExpirationError>() {
        tracing::warn!(component, "request failed: the component did not answer in time (--request-timeout)");
        return Problem::ComponentTimeout;
    }
    tracing::warn!(component, "request failed: {error:#}");
    Problem::ComponentFailed
}

fn with_scheme_http(uri: &Uri) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(http::uri::Scheme::HTTP);
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// The answer that stands in the manifest.
pub(crate) fn static_answer(answer: &StaticResponse) -> Response<WasiBody> {
    let mut response = Response::new(crate::problem::full(answer.body.clone()));
    *response.status_mut() = answer.status;
    response.headers_mut().extend(answer.headers.iter().cloned());
    response
}
