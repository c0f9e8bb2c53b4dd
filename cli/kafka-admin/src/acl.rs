//! What a user may do with what.

use anyhow::{Context, Result};
use kafka_protocol::messages::describe_acls_response::DescribeAclsResource;
use serde::{Deserialize, Serialize};

/// Kafka's `PermissionType`: this is allowed. Towpath forbids nothing, since nothing is allowed that isn't named.
pub(crate) const ALLOW: i8 = 3;
/// From wherever the user connects.
pub(crate) const ANY_HOST: &str = "*";

/// Kafka's `AclOperation`, by its names; the code of the first is 3.
const OPERATIONS: [&str; 10] = [
    "Read",
    "Write",
    "Create",
    "Delete",
    "Alter",
    "Describe",
    "ClusterAction",
    "DescribeConfigs",
    "AlterConfigs",
    "IdempotentWrite",
];
const FIRST_OPERATION: i8 = 3;

/// One operation that one user is allowed, on one resource or on all whose names begin in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acl {
    /// The user's name, without `User:`.
    pub user: String,
    /// The kind of the resource.
    pub resource: Resource,
    /// Its name, or how it begins.
    pub name: String,
    /// Which of both.
    pub pattern: Pattern,
    /// Such as `Read`, as Kafka's documentation spells it.
    pub operation: String,
}

/// What something may be done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// A topic.
    Topic,
    /// A consumer group.
    Group,
    /// The cluster; its name is `kafka-cluster`.
    Cluster,
    /// The transactional id of a producer.
    TransactionalId,
}

/// How a name is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pattern {
    /// As it is.
    Literal,
    /// As the beginning of names.
    Prefixed,
}

impl Resource {
    const ALL: [Self; 4] = [Self::Topic, Self::Group, Self::Cluster, Self::TransactionalId];

    /// Kafka's `ResourceType`.
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Group => 3,
            Self::Cluster => 4,
            Self::TransactionalId => 5,
        }
    }
}

impl Pattern {
    const ALL: [Self; 2] = [Self::Literal, Self::Prefixed];

    /// Kafka's `PatternType`.
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::Literal => 3,
            Self::Prefixed => 4,
        }
    }
}

impl Acl {
    pub(crate) fn operation_code(&self) -> Result<i8> {
        let place = OPERATIONS.iter().position(|name| *name == self.operation);
        let place = place.with_context(|| format!("Kafka has no operation {:?}", self.operation))?;
        Ok(FIRST_OPERATION + i8::try_from(place)?)
    }
}

/// A user as Kafka names it.
pub(crate) fn principal(user: &str) -> String {
    format!("User:{user}")
}

/// Those of a resource. What Towpath never writes (other kinds, single hosts, what is forbidden) is left out.
pub(crate) fn of(resource: &DescribeAclsResource) -> Vec<Acl> {
    let kind = Resource::ALL.into_iter().find(|kind| kind.code() == resource.resource_type);
    let pattern = Pattern::ALL.into_iter().find(|pattern| pattern.code() == resource.pattern_type);
    let (Some(kind), Some(pattern)) = (kind, pattern) else { return Vec::new() };
    let all = resource.acls.iter().filter(|acl| acl.permission_type == ALLOW && acl.host.as_str() == ANY_HOST);
    let all = all.filter_map(|acl| {
        let operation =
            usize::try_from(acl.operation - FIRST_OPERATION).ok().and_then(|place| OPERATIONS.get(place))?;
        Some(Acl {
            user: acl.principal.as_str().strip_prefix("User:")?.to_owned(),
            resource: kind,
            name: resource.resource_name.as_str().to_owned(),
            pattern,
            operation: (*operation).to_owned(),
        })
    });
    all.collect()
}
