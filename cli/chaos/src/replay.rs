//! Replays the dead letters that faults made before the judgement, with the command that an operator uses after repairing
//! the cause.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use towpath_stack::terminal::say;

use super::evidence::{Letter, Offsets, letters_since};
use super::judge::Window;
use super::stage::Stage;

/// How long a letter may be on its way to where it was seen.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(500);

/// Replays what the faults own up to, and answers all dead letters that there were before.
pub(super) async fn replay(stage: &Stage, since: &Offsets, windows: &[Window]) -> Result<Vec<Letter>> {
    let owned: BTreeSet<&str> = windows.iter().flat_map(|window| &window.letters).map(String::as_str).collect();
    let letters = all_there(stage, since, &owned).await?;
    let ids = ids(&letters, &owned);
    if !ids.is_empty() {
        say(&format!("replaying {} dead letters that the faults made", ids.len()));
        run(stage, ids).await?;
    }
    Ok(letters)
}

async fn all_there(stage: &Stage, since: &Offsets, owned: &BTreeSet<&str>) -> Result<Vec<Letter>> {
    let (kafka, begun) = (stage.running()?.kafka, Instant::now());
    loop {
        let letters = letters_since(&kafka, since).await?;
        let there: BTreeSet<&str> = letters.iter().map(|letter| letter.event.as_str()).collect();
        if owned.is_subset(&there) || begun.elapsed() > PATIENCE {
            return Ok(letters);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What `towpath dlq` calls them. A letter that stands there twice has the name of the first.
fn ids(letters: &[Letter], owned: &BTreeSet<&str>) -> Vec<String> {
    let mut first: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for letter in letters.iter().filter(|letter| owned.contains(letter.event.as_str())) {
        let offset = first.entry((&letter.topic, &letter.event)).or_insert(letter.offset);
        *offset = letter.offset.min(*offset);
    }
    first.into_iter().map(|((topic, _), offset)| format!("{topic}/{offset}")).collect()
}

async fn run(stage: &Stage, ids: Vec<String>) -> Result<()> {
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let mut command = tokio::process::Command::new(program);
    command.arg("--home").arg(stage.home.path()).args(["dlq", "replay"]).args(ids);
    let output = command.output().await.context("cannot run towpath dlq")?;
    if !output.status.success() {
        bail!("towpath dlq replay: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_replayed_once_and_a_strangers_is_not() {
        let letter = |topic: &str, offset, event: &str| Letter {
            topic: topic.into(),
            offset,
            event: event.into(),
            kind: "order.placed".into(),
            key: "k".into(),
            reason: "refused".into(),
        };
        let letters = [letter("t", 9, "a"), letter("t", 4, "a"), letter("u", 5, "a"), letter("t", 6, "b")];
        assert_eq!(ids(&letters, &["a"].into()), ["t/4", "u/5"]);
    }
}
