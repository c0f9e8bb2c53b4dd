#![doc = include_str!("../README.md")]

mod acl;
mod connection;
mod scram;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest, DescribeGroupsRequest,
    DescribeTransactionsRequest, FindCoordinatorRequest, InitProducerIdRequest, MetadataRequest,
};
use kafka_protocol::protocol::StrBytes;

pub use acl::{Acl, Pattern, Resource};
pub use connection::Connection;

use connection::check;

/// How the broker names SCRAM-SHA-512 in its protocol.
const SCRAM_SHA_512: i8 = 2;
/// What Kafka takes at least. Passwords of Towpath are random, 192 bits of them: more rounds would protect nothing.
const MIN_ITERATIONS: u32 = 4096;
/// How long a broker may take until it knows what its controller has written down.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A user with a password. Its `Debug` shows the name alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Login {
    /// This user, with this password.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A connection of a user who may change other users and their rights.
#[derive(Debug)]
pub struct Admin {
    address: String,
    connection: Connection,
}

impl Admin {
    /// Connects to a broker (`host:port`) and logs in.
    ///
    /// # Errors
    /// Where nobody answers, or the broker doesn't know this user with this password.
    pub async fn connect(address: &str, login: &Login) -> Result<Self> {
        Ok(Self { address: address.to_owned(), connection: Connection::open(address, login).await? })
    }

    /// Makes these users, or gives them these passwords. Returns once the broker lets each of them in.
    ///
    /// # Errors
    /// Where the broker refuses it.
    pub async fn set_passwords(&mut self, logins: &[Login]) -> Result<()> {
        let upsertions = logins.iter().map(|login| {
            let salt: [u8; 24] = rand::random();
            let salted = scram::salted(login.password.as_bytes(), &salt, MIN_ITERATIONS);
            ScramCredentialUpsertion::default()
                .with_name(text(&login.user))
                .with_mechanism(SCRAM_SHA_512)
                .with_iterations(MIN_ITERATIONS.cast_signed())
                .with_salt(salt.to_vec().into())
                .with_salted_password(salted.to_vec().into())
        });
        let request = AlterUserScramCredentialsRequest::default().with_upsertions(upsertions.collect());
        let response = self.connection.ask(&request, 0).await?;
        for result in &response.results {
            check(result.error_code, result.error_message.as_deref())
                .with_context(|| format!("the password of {} can't be set", result.user.as_str()))?;
        }
        for login in logins {
            self.until_known(login).await?;
        }
        Ok(())
    }

    /// What is written down reaches the broker a moment later.
    async fn until_known(&self, login: &Login) -> Result<()> {
        let known = async {
            while Connection::open(&self.address, login).await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(KNOWN_WITHIN, known)
            .await
            .with_context(|| format!("the broker doesn't let {} in with the new password", login.user))
    }

    /// How many brokers the cluster has, as this one knows it.
    ///
    /// # Errors
    /// Where it doesn't answer.
    pub async fn brokers(&mut self) -> Result<usize> {
        // No topics.
        let request = MetadataRequest::default().with_topics(Some(Vec::new()));
        Ok(self.connection.ask(&request, 9).await?.brokers.len())
    }

    /// Waits until groups and transactions have their coordinators, and these have read what is written of them. A new broker makes the topics of both when it is first asked;
    /// where many ask at once, or once more while it makes one, it logs a warning for all but the first. Waits too until it gives
    /// out ids of producers: it has none at first, and a client that asks then logs a warning.
    ///
    /// # Errors
    /// Where there is none in time.
    pub async fn until_coordinated(&mut self) -> Result<()> {
        const GROUP: i8 = 0;
        const TRANSACTION: i8 = 1;
        for (kind, topic) in [(GROUP, "__consumer_offsets"), (TRANSACTION, "__transaction_state")] {
            let request =
                FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(vec![text("towpath")]);
            let found = async {
                loop {
                    let answer = self.connection.ask(&request, 4).await?;
                    if answer.coordinators.iter().all(|coordinator| coordinator.error_code == 0) {
                        return Ok(());
                    }
                    self.until_there(topic).await?;
                }
            };
            let found: Result<Result<()>, _> = tokio::time::timeout(KNOWN_WITHIN, found).await;
            found.context("the broker names no coordinator")??;
        }
        let loaded: Result<Result<()>, _> = tokio::time::timeout(KNOWN_WITHIN, self.until_loaded()).await;
        loaded.context("the coordinators don't come to an end of what they read")??;
        let given = async {
            let request =
                InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(i32::MAX);
            while self.connection.ask(&request, 4).await?.error_code != 0 {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        let given: Result<Result<()>, _> = tokio::time::timeout(KNOWN_WITHIN, given).await;
        given.context("the broker gives out no id of a producer")?
    }

    /// Groups and transactions are divided by their names among few partitions, each read by itself. Nobody has these names, and
    /// asking for them makes nothing.
    async fn until_loaded(&mut self) -> Result<()> {
        const NAMES: usize = 32;
        let names = || (0..NAMES).map(|number| text(&format!("towpath-nobody-{number}")));
        let groups = DescribeGroupsRequest::default().with_groups(names().map(Into::into).collect());
        let transactions =
            DescribeTransactionsRequest::default().with_transactional_ids(names().map(Into::into).collect());
        loop {
            let groups = self.connection.ask(&groups, 5).await?.groups;
            let transactions = self.connection.ask(&transactions, 0).await?.transaction_states;
            let loading = ResponseError::CoordinatorLoadInProgress.code();
            let mut codes = groups.iter().map(|group| group.error_code);
            if !codes.any(|code| code == loading) && transactions.iter().all(|known| known.error_code != loading) {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a topic is there, and each of its partitions has its leader.
    async fn until_there(&mut self, topic: &'static str) -> Result<()> {
        let wanted = MetadataRequestTopic::default().with_name(Some(text(topic).into()));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let topics = self.connection.ask(&request, 9).await?.topics;
            let led =
                |topic: &MetadataResponseTopic| topic.partitions.iter().all(|partition| partition.error_code == 0);
            if topics.iter().all(|topic| topic.error_code == 0 && led(topic)) {
                return Ok(());
            }
        }
    }

    /// Everything that a user is allowed.
    async fn acls_of(&mut self, user: &str) -> Result<BTreeSet<Acl>> {
        const ANY: i8 = 1;
        let request = DescribeAclsRequest::default()
            .with_resource_type_filter(ANY)
            .with_resource_name_filter(None)
            .with_pattern_type_filter(ANY)
            .with_principal_filter(Some(text(&acl::principal(user))))
            .with_host_filter(None)
            .with_operation(ANY)
            .with_permission_type(ANY);
        let response = self.connection.ask(&request, 3).await?;
        check(response.error_code, response.error_message.as_deref()).context("the rights can't be read")?;
        Ok(response.resources.iter().flat_map(acl::of).collect())
    }

    /// Gives these users these rights and takes all others from them; what others have stays. Returns once the broker holds
    /// itself to that.
    ///
    /// # Errors
    /// Where the broker refuses it.
    pub async fn allow_exactly(&mut self, users: &[String], wanted: &BTreeSet<Acl>) -> Result<()> {
        let stranger = wanted.iter().find(|acl| !users.contains(&acl.user));
        ensure!(stranger.is_none(), "{stranger:?} is for none of the users {users:?}");
        let have = self.of(users).await?;
        self.allow(wanted.difference(&have)).await?;
        self.take(have.difference(wanted)).await?;
        let known = async {
            while self.of(users).await? != *wanted {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        tokio::time::timeout(KNOWN_WITHIN, known).await.context("the broker doesn't know of the new rights")?
    }

    /// The rights of these users.
    async fn of(&mut self, users: &[String]) -> Result<BTreeSet<Acl>> {
        let mut all = BTreeSet::new();
        for user in users {
            all.extend(self.acls_of(user).await?);
        }
        Ok(all)
    }

    async fn allow(&mut self, acls: impl Iterator<Item = &Acl>) -> Result<()> {
        let creations = acls.map(|acl| {
            Ok(AclCreation::default()
                .with_resource_type(acl.resource.code())
                .with_resource_name(text(&acl.name))
                .with_resource_pattern_type(acl.pattern.code())
                .with_principal(text(&acl::principal(&acl.user)))
                .with_host(text(acl::ANY_HOST))
                .with_operation(acl.operation_code()?)
                .with_permission_type(acl::ALLOW))
        });
        let creations = creations.collect::<Result<Vec<_>>>()?;
        if creations.is_empty() {
            return Ok(());
        }
        let response = self.connection.ask(&CreateAclsRequest::default().with_creations(creations), 3).await?;
        for result in &response.results {
            check(result.error_code, result.error_message.as_deref()).context("a right can't be given")?;
        }
        Ok(())
    }

    async fn take(&mut self, acls: impl Iterator<Item = &Acl>) -> Result<()> {
        let filters = acls.map(|acl| {
            Ok(DeleteAclsFilter::default()
                .with_resource_type_filter(acl.resource.code())
                .with_resource_name_filter(Some(text(&acl.name)))
                .with_pattern_type_filter(acl.pattern.code())
                .with_principal_filter(Some(text(&acl::principal(&acl.user))))
                .with_host_filter(Some(text(acl::ANY_HOST)))
                .with_operation(acl.operation_code()?)
                .with_permission_type(acl::ALLOW))
        });
        let filters = filters.collect::<Result<Vec<_>>>()?;
        if filters.is_empty() {
            return Ok(());
        }
        let response = self.connection.ask(&DeleteAclsRequest::default().with_filters(filters), 3).await?;
        for result in &response.filter_results {
            check(result.error_code, result.error_message.as_deref()).context("a right can't be taken away")?;
        }
        Ok(())
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
