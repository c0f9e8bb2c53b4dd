//! What a handler gets beside its request: the trace, the time that is left, and the way to the relay and to other components.

use crate::{Budget, Principal, Problem, Relay, Request, Trace, peer::Peer, principal::Whose};

/// What a handler gets beside its request.
///
/// ```no_run
/// use towpath_sdk::{Context, Problem, Query};
///
/// async fn count(context: &Context) -> Result<i64, Problem> {
///     let rows = context.relay().await?.query(Query::new("SELECT count(*) AS n FROM things", [])).await?;
///     let row = rows.first().ok_or_else(|| Problem::internal("count returned no row"))?;
///     Ok(row.get("n")?)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Context {
    /// The trace context of the request.
    pub trace: Trace,
    /// The id of the request in every log.
    pub request_id: String,
    /// How long the handler may wait for its calls.
    pub budget: Budget,
}

impl Context {
    /// The relay, as the variables `relay_url` and `relay_token` name it.
    ///
    /// # Errors
    /// 503 where they aren't set in spin.toml.
    pub async fn relay(&self) -> Result<Relay, Problem> {
        let (url, token) = (self.variable("relay_url").await?, self.variable("relay_token").await?);
        Ok(Relay::new(&url, &token, self.trace.clone()).with_budget(self.budget))
    }

    /// A variable of the component.
    ///
    /// # Errors
    /// 503 where it isn't set in spin.toml: a wrong configuration says nothing about an event, which waits until it is mended.
    pub async fn variable(&self, name: &str) -> Result<String, Problem> {
        let value = spin_sdk::variables::get(name).await;
        value.map_err(|error| Problem::misconfigured(format!("the variable {name}: {error}")))
    }

    /// A variable that the manifest need not have; empty where it doesn't.
    pub(crate) async fn optional_variable(&self, name: &str) -> String {
        spin_sdk::variables::get(name).await.unwrap_or_default()
    }

    /// Whose rows this request may see and change, where rows belong to customers. While the variable `identity` is `off`,
    /// everybody's.
    ///
    /// # Errors
    /// 401 where the gateway hands on nobody; 403 for somebody who has no rows, and may not manage those of others.
    pub async fn whose(&self, request: &Request) -> Result<Whose, Problem> {
        match self.variable("identity").await?.trim() {
            "off" => Ok(Whose::Everybody),
            _ => Principal::of(request)?.whose(),
        }
    }

    /// Another component of the application.
    #[must_use]
    pub fn peer(&self, name: &'static str) -> Peer<'_> {
        Peer::new(name, &self.trace, &self.request_id, self.budget.left())
    }
}
