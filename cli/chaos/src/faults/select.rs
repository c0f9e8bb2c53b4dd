//! `--faults LIST`: names of faults, groups, and beginnings of names with a `*` behind them.

use anyhow::{Result, bail};

use crate::fault::Fault;
use crate::stage::Stage;

/// Those that the list names and that this stack can have; without a list all that it can have. Words that name none are
/// refused, all of them at once, and so are those that name only what this stack can't have.
pub(crate) fn select(words: &[String], faults: Vec<Box<dyn Fault>>, stage: &Stage) -> Result<Vec<Box<dyn Fault>>> {
    choose(words, faults, |fault| fault.impossible(stage))
}

fn choose(
    words: &[String],
    faults: Vec<Box<dyn Fault>>,
    impossible: impl Fn(&dyn Fault) -> Option<String>,
) -> Result<Vec<Box<dyn Fault>>> {
    let refused: Vec<String> = words.iter().filter_map(|word| refusal(word, &faults, &impossible)).collect();
    if !refused.is_empty() {
        bail!("{}", refused.join("\n"));
    }
    let wanted = |fault: &dyn Fault| words.is_empty() || words.iter().any(|word| names(word, fault));
    Ok(faults.into_iter().filter(|fault| wanted(&**fault) && impossible(&**fault).is_none()).collect())
}

fn names(word: &str, fault: &dyn Fault) -> bool {
    match word.strip_suffix('*') {
        Some(beginning) => fault.name().starts_with(beginning),
        None => fault.name() == word || fault.group().name() == word,
    }
}

/// Why a word can't be had.
fn refusal(word: &str, faults: &[Box<dyn Fault>], impossible: impl Fn(&dyn Fault) -> Option<String>) -> Option<String> {
    let named: Vec<&dyn Fault> = faults.iter().map(|fault| &**fault).filter(|fault| names(word, *fault)).collect();
    if named.is_empty() {
        let mut groups: Vec<&str> = faults.iter().map(|fault| fault.group().name()).collect();
        groups.dedup();
        let known: Vec<String> = faults.iter().map(|fault| fault.name()).collect();
        return Some(format!(
            "no fault is called {word:?}: there are the groups {}; the faults {}; and beginnings such as kill-*",
            groups.join(", "),
            known.join(", ")
        ));
    }
    let causes: Vec<String> = named.iter().map_while(|fault| impossible(*fault)).collect();
    let all_of_them = causes.len() == named.len();
    all_of_them.then(|| format!("{word} can't be had here: {}", causes.first().map_or("", String::as_str)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::future::BoxFuture;
    use rand::rngs::StdRng;

    use super::*;
    use crate::fault::Struck;
    use crate::group::Group;

    struct Named(&'static str, Group);

    impl Fault for Named {
        fn name(&self) -> String {
            self.0.to_owned()
        }

        fn group(&self) -> Group {
            self.1
        }

        fn about(&self) -> String {
            String::new()
        }

        fn duration(&self) -> Duration {
            Duration::ZERO
        }

        fn strike<'a>(&'a self, _: &'a Stage, _: &'a mut StdRng) -> BoxFuture<'a, Result<Struck>> {
            unreachable!("nothing is struck here")
        }
    }

    fn chosen(words: &[&str]) -> Result<Vec<String>> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let faults: Vec<Box<dyn Fault>> = vec![
            Box::new(Named("kill-redis", Group::Kill)),
            Box::new(Named("kill-relay", Group::Kill)),
            Box::new(Named("provider-gone", Group::Provider)),
            Box::new(Named("replica-kill-relay-2", Group::Replicas)),
        ];
        let impossible =
            |fault: &dyn Fault| (fault.group() == Group::Replicas).then(|| "needs --replicas 2".to_owned());
        Ok(choose(&words, faults, impossible)?.iter().map(|fault| fault.name()).collect())
    }

    #[test]
    fn names_rows_and_beginnings_select() {
        assert_eq!(chosen(&["kill-redis"]).unwrap(), ["kill-redis"]);
        assert_eq!(chosen(&["kill", "kill-redis"]).unwrap(), ["kill-redis", "kill-relay"]);
        assert_eq!(chosen(&["kill-re*", "provider"]).unwrap(), ["kill-redis", "kill-relay", "provider-gone"]);
    }

    #[test]
    fn without_a_list_come_all_that_can_be_had() {
        assert_eq!(chosen(&[]).unwrap(), ["kill-redis", "kill-relay", "provider-gone"]);
        assert_eq!(chosen(&["*"]).unwrap().len(), 3);
    }

    #[test]
    fn unknown_words_are_refused_at_once_with_what_exists() {
        let error = chosen(&["kil", "kill", "x*", "replica-*"]).unwrap_err().to_string();
        for part in ["\"kil\"", "\"x*\"", "kill, provider, replicas", "provider-gone", "needs --replicas 2"] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
        assert!(!error.contains("\"kill\""), "{error}");
    }
}
