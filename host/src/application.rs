//! Loads an application: compiles its components and builds its routes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::handler::ProxyHandler;

use crate::admission::Admission;
use crate::components::Components;
use crate::engine::{ComponentContext, InstanceLimits, Instances, Runtime};
use crate::manifest::{self, Fault, Faults, Manifest, RouteConfig, Target};
use crate::outbound::{AllowedHosts, Network, Outbound};
use crate::routes::{Captures, Pattern, Router, plain_segments};
use crate::spin_headers::RouteHeaders;
use crate::variables::Variables;
use crate::waits::Waits;

/// Prefix of the paths that the host answers itself.
pub(crate) const WELL_KNOWN: &str = "/.well-known/spin/";

/// A loaded application.
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) router: Router<Route>,
    /// The same routes for deliveries, with places of their own, where none is below the prefix and one for any path takes
    /// them.
    twins: Option<Router<Route>>,
    pub(crate) components: Arc<Components>,
    pub(crate) network: Arc<Network>,
    /// The places of requests that wait.
    pub(crate) waits: Arc<Waits>,
    /// The path whose requests have places of their own (`--health-path`).
    pub(crate) health_path: String,
    /// The segments of `--deliveries-prefix`; `None` where no route is for deliveries.
    deliveries: Option<Vec<String>>,
}

/// What answers on a path, and how many requests it takes.
pub(crate) struct Route {
    pub(crate) headers: RouteHeaders,
    pub(crate) target: Target,
    /// One permit per request in flight. Each route has its own permits: clients that wait must not keep out the relay's
    /// deliveries, which they may be waiting for.
    pub(crate) in_flight: Arc<Semaphore>,
    /// It is for deliveries (`--deliveries-prefix`): the relay calls it, and limits itself.
    pub(crate) is_delivery: bool,
    /// Limits the requests at work so that responses stay fast. `None` for deliveries and without a target latency.
    pub(crate) admission: Option<Arc<Admission>>,
}

/// The limits of an application.
pub(crate) struct Limits {
    pub(crate) instances: InstanceLimits,
    pub(crate) max_in_flight: usize,
    pub(crate) max_call_depth: u8,
    pub(crate) target_latency: Duration,
    pub(crate) max_waits: usize,
    pub(crate) health_path: String,
    pub(crate) deliveries_prefix: String,
    /// Whether the options name a listener for deliveries: then a route for any path takes them too.
    pub(crate) wants_deliveries: bool,
}

impl Limits {
    fn is_delivery(&self, route: &str) -> bool {
        let prefix = plain_segments(&self.deliveries_prefix);
        !prefix.is_empty() && plain_segments(route).starts_with(&prefix)
    }

    fn admission(&self, is_delivery: bool) -> Option<Arc<Admission>> {
        let limited = !is_delivery && !self.target_latency.is_zero();
        limited.then(|| Arc::new(Admission::new(self.target_latency, self.max_in_flight)))
    }
}

impl Application {
    /// Compiles the components and builds the routes. The error names every component that cannot be loaded.
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
        let components = Arc::new(Components::new(handlers));
        network.connect_components(&components);
        let router = build_routes(manifest, limits, |text| limits.is_delivery(text));
        let below = format!("{}/-", limits.deliveries_prefix.trim_end_matches('/'));
        let has_own = router.iter().any(|(_, route)| route.is_delivery);
        let has_twins = !has_own && limits.wants_deliveries && router.find(&below).is_some();
        let twins = has_twins.then(|| build_routes(manifest, limits, |_| true));
        let deliveries = plain_segments(&limits.deliveries_prefix);
        let deliveries = (!deliveries.is_empty() && (has_own || has_twins)).then_some(deliveries);
        Ok(Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            router,
            twins,
            components,
            network,
            waits: Arc::new(Waits::new(limits.max_waits)),
            health_path: limits.health_path.clone(),
            deliveries,
        })
    }

    /// Whether it has routes for deliveries.
    pub(crate) fn takes_deliveries(&self) -> bool {
        self.deliveries.is_some()
    }

    /// The route of a delivery.
    pub(crate) fn find_delivery<'path>(&self, path: &'path str) -> Option<(&Route, Captures<'_, 'path>)> {
        match &self.twins {
            Some(twins) => twins.find(path).filter(|_| self.has_deliveries_below(path)),
            None => self.router.find(path).filter(|(route, _)| route.is_delivery),
        }
    }

    /// Whether a path, in whatever spelling, is below the prefix of deliveries, and there are any.
    pub(crate) fn has_deliveries_below(&self, path: &str) -> bool {
        self.deliveries.as_ref().is_some_and(|prefix| plain_segments(path).starts_with(prefix))
    }
}

fn build_routes(manifest: &Manifest, limits: &Limits, is_delivery: impl Fn(&str) -> bool) -> Router<Route> {
    let mut router = Router::default();
    for trigger in &manifest.triggers {
        let RouteConfig::Public(text) = &trigger.route else { continue };
        let Ok(pattern) = Pattern::parse(text) else { continue };
        if text.starts_with(WELL_KNOWN) {
            tracing::warn!(route = text, "route is never used: the host itself answers below /.well-known/spin/");
        }
        let route = Route {
            headers: RouteHeaders::new(text),
            target: trigger.target.clone(),
            in_flight: Arc::new(Semaphore::new(limits.max_in_flight)),
            is_delivery: is_delivery(text),
            admission: limits.admission(is_delivery(text)),
        };
        if router.add(pattern, route).is_some() {
            tracing::warn!(route = text, "route is in the manifest twice: the host uses the last one");
        }
    }
    router
}

/// Loads the components of one application.
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
            outbound: Arc::new(Outbound::new(id.clone(), allowed, self.network.clone())),
        };
        let pre = self.runtime.load(&id, &file)?;
        tracing::debug!(component = %id, took_ms = started.elapsed().as_millis(), "loaded");
        Ok(ProxyHandler::new(Instances::new(pre, Arc::new(context), self.limits.clone())))
    }

    fn allowed_hosts(&self, component: &manifest::Component) -> Result<AllowedHosts, String> {
        let entries = component.allowed_outbound_hosts.iter().map(|entry| self.variables.fill(&entry.value));
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let components: Vec<_> = self.manifest.components.keys().cloned().collect();
        AllowedHosts::parse(entries.iter().map(String::as_str), &components)
    }
}
