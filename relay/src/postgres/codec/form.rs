//! The form that each PostgreSQL type has in JSON.

use tokio_postgres::types::{Kind, Type};

/// How a PostgreSQL type looks in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// `bool`
    Bool,
    /// `int2`, `int4` and `oid`: a JSON number within a range.
    Small(i64, i64),
    /// `int8`
    Int8,
    /// `float4`
    Float4,
    /// `float8`
    Float8,
    /// `numeric`
    Numeric,
    /// Strings, and types whose binary format is a string.
    Text,
    /// `name` and `"char"`: strings that PostgreSQL would cut after so many bytes.
    Short(usize),
    /// `uuid`
    Uuid,
    /// `timestamptz`
    TimestampTz,
    /// `timestamp`
    Timestamp,
    /// `date`
    Date,
    /// `time`
    Time,
    /// `timetz`
    TimeTz,
    /// `interval`
    Interval,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `bytea`
    Bytea,
    /// An array.
    Array(Box<Form>),
    /// `void`: what a function returns that returns nothing.
    Void,
    /// A type that has no form in JSON: as a parameter its text, as a result nothing.
    Foreign,
}

impl Form {
    /// The form of a type.
    #[must_use]
    pub fn of(kind: &Type) -> Self {
        match *kind {
            Type::BOOL => Self::Bool,
            Type::INT2 => Self::Small(i16::MIN.into(), i16::MAX.into()),
            Type::INT4 => Self::Small(i32::MIN.into(), i32::MAX.into()),
            Type::OID => Self::Small(0, u32::MAX.into()),
            Type::INT8 => Self::Int8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            Type::NUMERIC => Self::Numeric,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::UNKNOWN => Self::Text,
            Type::NAME => Self::Short(63),
            Type::CHAR => Self::Short(1),
            Type::UUID => Self::Uuid,
            Type::TIMESTAMPTZ => Self::TimestampTz,
            Type::TIMESTAMP => Self::Timestamp,
            Type::DATE => Self::Date,
            Type::TIME => Self::Time,
            Type::TIMETZ => Self::TimeTz,
            Type::INTERVAL => Self::Interval,
            Type::JSON => Self::Json,
            Type::JSONB => Self::Jsonb,
            Type::BYTEA => Self::Bytea,
            Type::VOID => Self::Void,
            _ => Self::of_kind(kind),
        }
    }

    fn of_kind(kind: &Type) -> Self {
        match kind.kind() {
            Kind::Enum(_) => Self::Text,
            Kind::Domain(base) => Self::of(base),
            // The elements of a box are divided by semicolons, and so of nothing else; it has no form anyway.
            Kind::Array(element) => match Self::of(element) {
                Self::Foreign | Self::Void => Self::Foreign,
                element => Self::Array(Box::new(element)),
            },
            Kind::Simple if kind.name() == "citext" => Self::Text,
            _ => Self::Foreign,
        }
    }
}
