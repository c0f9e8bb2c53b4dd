//! The calls of the provider, whoever it is.

use std::time::{Duration, Instant};

use towpath_sdk::{Context, Id, Problem, Relay};

use super::{
    Answer, Charge, Name, ProviderError, Refund,
    http::Http,
    sandbox::Sandbox,
    stripe::{Call, Created, Given, Standing, key, read_created, read_intent, read_refund, read_refunds, read_secret},
    units::Units,
};

/// How long payment waits for the provider in one delivery, over all its calls: less than the relay waits for the response.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(8);
/// The shortest wait that a call is begun with.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// What a question must have, to be begun by a sweep of many: one that had less could end without an answer that would have come.
const TIME_OF_A_QUESTION: Duration = Duration::from_secs(4);

/// Who answers.
enum Transport<'a> {
    /// Stripe, or a server that speaks as it does.
    Http(Http),
    /// The sandbox.
    Sandbox(Sandbox<'a>),
}

/// A provider, for the calls of one delivery.
pub(crate) struct Provider<'a> {
    transport: Transport<'a>,
    until: Instant,
}

impl<'a> Provider<'a> {
    /// The provider with this name.
    ///
    /// # Errors
    /// 503 where the configuration has no key: it keeps the event until somebody sets it.
    pub(crate) async fn named(context: &Context, relay: &'a Relay, name: Name) -> Result<Self, Problem> {
        let transport = match name {
            Name::Sandbox => Transport::Sandbox(Sandbox::new(relay)),
            Name::Stripe => {
                let (url, key) = (context.variable("stripe_url").await?, context.variable("stripe_key").await?);
                if key.trim().is_empty() {
                    return Err(ProviderError::later("the variable stripe_key is empty").into());
                }
                Transport::Http(Http::new(&url, &key))
            }
        };
        Ok(Self { transport, until: Instant::now() + PROVIDER_TIMEOUT })
    }

    /// Creates an intent: charges nobody.
    pub(crate) async fn create(&self, charge: Charge, attempt: i32) -> Result<Created, ProviderError> {
        let (key, units) = (key("create", charge.order_id, attempt), charge.units.clone());
        read_created(&self.call(&Call::Create { charge, key }).await?, &units)
    }

    /// Charges an intent.
    pub(crate) async fn confirm(
        &self,
        order_id: Id,
        intent: &str,
        payment_method: &str,
        attempt: i32,
        units: &Units,
    ) -> Result<Standing, ProviderError> {
        let (intent, payment_method) = (intent.into(), payment_method.into());
        let call = Call::Confirm { intent, payment_method, key: key("confirm", order_id, attempt) };
        read_intent(&self.call(&call).await?, units)
    }

    /// Cancels an intent. The provider decides whether it was charged before.
    pub(crate) async fn cancel(&self, intent: &str, units: &Units) -> Result<Standing, ProviderError> {
        let answer = self.call(&Call::Cancel { intent: intent.into() }).await?;
        read_intent(&answer, units).map_err(ProviderError::without_key)
    }

    /// What became of an intent.
    pub(crate) async fn look(&self, intent: &str, units: &Units) -> Result<Standing, ProviderError> {
        let answer = self.call(&Call::Look { intent: intent.into() }).await?;
        read_intent(&answer, units).map_err(ProviderError::without_key)
    }

    /// What the customer shows to authenticate, while the intent waits for it.
    pub(crate) async fn secret(&self, intent: &str) -> Result<Option<String>, ProviderError> {
        read_secret(&self.call(&Call::Look { intent: intent.into() }).await?)
    }

    /// Refunds an intent.
    pub(crate) async fn refund(&self, refund: Refund, attempt: i32) -> Result<Given, ProviderError> {
        let (key, units) = (key("refund", refund.order_id, attempt), refund.units.clone());
        read_refund(&self.call(&Call::Refund { refund, key }).await?, &units)
    }

    /// What became of a refund.
    pub(crate) async fn look_at_refund(&self, reference: &str, units: &Units) -> Result<Given, ProviderError> {
        let answer = self.call(&Call::LookAtRefund { reference: reference.into() }).await?;
        read_refund(&answer, units).map_err(ProviderError::without_key)
    }

    /// The refund of an intent, if there is one.
    pub(crate) async fn find_refund(&self, intent: &str, units: &Units) -> Result<Option<Given>, ProviderError> {
        read_refunds(&self.call(&Call::ListRefunds { intent: intent.into() }).await?, units)
    }

    /// Whether a sweep may begin another question. Otherwise the next sweep goes on.
    pub(crate) fn has_time(&self) -> bool {
        self.left() >= TIME_OF_A_QUESTION
    }

    fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    async fn call(&self, call: &Call) -> Result<Answer, ProviderError> {
        let left = self.left();
        if left < MIN_WAIT {
            return Err(ProviderError::later("the calls before this one took all the time of the delivery"));
        }
        match &self.transport {
            Transport::Http(http) => http.call(call.ask(), left).await,
            Transport::Sandbox(sandbox) => sandbox.call(call, left).await,
        }
    }
}
