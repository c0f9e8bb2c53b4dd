//! What an application can be called.
use std::str::FromStr;

/// The longest name of a service that relay.toml takes.
const MAX_CHARS: usize = 40;
/// Databases that every PostgreSQL server has.
const DATABASES: [&str; 3] = ["postgres", "template0", "template1"];
/// Users of Kafka that every stack has: a service's user has the service's name.
const USERS: [&str; 2] = ["admin", "relay"];

/// The name of an application, which is its service's, its component's and its database's too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(String);

impl Name {
    /// `shop-reviews`
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// `shop_reviews`, as a part of a variable of spin.toml.
    pub(super) fn snake(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl FromStr for Name {
    type Err = String;

    /// Says everything that is wrong with it.
    fn from_str(name: &str) -> Result<Self, String> {
        let mut faults = Vec::new();
        if name.is_empty() {
            faults.push("it is empty".to_owned());
        }
        if name.chars().count() > MAX_CHARS {
            faults.push(format!("it has {} characters, {MAX_CHARS} are allowed", name.chars().count()));
        }
        let mut strange: Vec<char> = Vec::new();
        for char in name.chars().filter(|char| !matches!(char, 'a'..='z' | '0'..='9' | '-')) {
            if !strange.contains(&char) {
                strange.push(char);
            }
        }
        if !strange.is_empty() {
            let strange: Vec<String> = strange.iter().map(|char| format!("{char:?}")).collect();
            faults.push(format!("{} can't stand in it: a-z, 0-9 and - can", strange.join(", ")));
        }
        let words = || name.split('-').filter(|_| !name.is_empty());
        if words().any(str::is_empty) {
            faults.push("a - stands between two words".to_owned());
        }
        if words().any(|word| word.starts_with(|char: char| char.is_ascii_digit())) {
            faults.push("a word of it begins with a digit, and Spin wants a letter".to_owned());
        }
        if DATABASES.contains(&name) {
            faults.push("every PostgreSQL server has a database of this name".to_owned());
        }
        if USERS.contains(&name) {
            faults.push("every stack has a user of this name in Kafka".to_owned());
        }
        if faults.is_empty() { Ok(Self(name.to_owned())) } else { Err(faults.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_and_components_are_taken() {
        for name in ["a", "shop-reviews", "b2b-parcels", "test", "fn", &"x".repeat(40)] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
        assert_eq!("shop-reviews".parse::<Name>().unwrap().snake(), "shop_reviews");
    }

    #[test]
    fn every_fault_of_a_name_is_named_at_once() {
        let faults = |name: &str| name.parse::<Name>().unwrap_err();
        let all = faults(&format!("Shöp_-2{}-", "x".repeat(40)));
        for fault in ["48 characters, 40", "'S', 'ö', '_' can't", "between two words", "begins with a digit"] {
            assert!(all.contains(fault), "{fault}: {all}");
        }
        assert_eq!(faults(""), "it is empty");
        for (name, fault) in [
            ("-a", "between two words"),
            ("a--b", "between two words"),
            ("7a", "begins with a digit"),
            ("a/b", "'/' can't"),
            ("..", "'.' can't"),
            ("a b", "' ' can't"),
            ("postgres", "every PostgreSQL"),
            ("relay", "in Kafka"),
        ] {
            assert!(faults(name).contains(fault), "{name}: {}", faults(name));
        }
    }
}
