//! The stack that a test runs against.

use std::env;
use std::path::PathBuf;

use towpath_client::Client;
use towpath_stack::home::Home;
use towpath_stack::running::Running;

/// A running stack, by its home folder and its public URL.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Where its data, its secrets and its state lie.
    pub home: PathBuf,
    /// Its public edge.
    pub url: String,
}

impl Stack {
    /// The stack that all tests of a run share.
    ///
    /// # Panics
    /// Where none was started for the tests.
    #[must_use]
    pub fn shared() -> Self {
        let variable = |name: &str| {
            env::var(name).unwrap_or_else(|_| panic!("{name} is not set: these tests run by `./towpath test`"))
        };
        Self { home: variable("TOWPATH_TEST_STACK_HOME").into(), url: variable("TOWPATH_TEST_STACK_URL") }
    }

    /// A client of its public API.
    #[must_use]
    pub fn api(&self) -> Client {
        Client::new(&self.url).expect("a client needs nothing that can fail")
    }

    /// Its parts and its servers, as they are now.
    #[must_use]
    pub fn running(&self) -> Running {
        let running = Home::resolve(Some(&self.home)).and_then(|home| Running::of(&home));
        running.unwrap_or_else(|cause| panic!("the stack of {}: {cause:#}", self.home.display()))
    }
}
