//! The targets. The crate's README says how to run one.

#![allow(clippy::unwrap_used, reason = "a target reports what it finds by a panic")]

mod api;
mod host;
mod input;
mod relay;

/// A target: a test that checks a property on its corpus and on mutations of it.
macro_rules! target {
    ($(#[$doc:meta])* $module:literal $name:ident($property:path), $words:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let seeds = towpath_fuzz::corpus(concat!($module, "__", stringify!($name)));
            let words: &[&str] = $words;
            let property: fn(&[u8]) = $property;
            bolero::check!().with_test_time(std::time::Duration::from_millis(500)).for_each(|bytes: &[u8]| {
                property(bytes);
                let mutated = towpath_fuzz::mutate(&seeds, words, bytes);
                let _shown = $crate::Shown(&mutated);
                property(&mutated);
            });
        }
    };
}
use target;

/// Prints the input of a failure; bolero prints only the program that made it.
struct Shown<'a>(&'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the input: {:?}", String::from_utf8_lossy(self.0));
        }
    }
}
