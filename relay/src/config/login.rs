//! Users of Kafka: the relay's own under `[kafka]`, and those of services.

use super::own_topics::is_topic_name;
use super::reader::Section;
use super::{KafkaConfig, KafkaLogin};

/// `user` and `password`: both or none.
pub(super) fn of(section: &Section<'_, '_>) -> Option<KafkaLogin> {
    if !section.has("user") && !section.has("password") {
        return None;
    }
    let user = section.required("user", "\"beta\"");
    if section.has("user") && !is_topic_name(&user) {
        section.fault("user", "must have 1 to 200 of a-z, A-Z, 0-9, ., _ and -");
    }
    Some(KafkaLogin { user, password: section.required_secret("password", "\"${TOWPATH_KAFKA_PASSWORD}\"") })
}

/// A service's own user of Kafka.
pub(super) fn of_service(parent: &Section<'_, '_>, kafka: Option<&KafkaConfig>) -> Option<KafkaLogin> {
    let section = parent.section("kafka");
    if !section.is_present() {
        return None;
    }
    let login = of(&section);
    if login.is_none() {
        section.fault_here("needs user and password");
    }
    match kafka {
        None => section.fault_here("needs [kafka] with brokers"),
        Some(kafka) if kafka.login.is_none() => {
            section.fault_here("needs user and password under [kafka] too: the relay makes the topics as that user");
        }
        Some(_) => {}
    }
    section.finish();
    login
}
