//! What has moved since an earlier run.
//!
//! A ratio is compared where there is one: it says less about the machine. A figure has moved where no round of the one run lies
//! between the lowest and the highest of the other.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::figure::{Figure, Spread};
use super::number::readable;
use super::report::{FORM, Report};

/// Reads what `--json` wrote.
pub(super) fn read(file: &Path) -> Result<Report> {
    #[derive(Deserialize)]
    struct Form {
        form: Option<u32>,
    }
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let Form { form } =
        serde_json::from_str(&text).with_context(|| format!("{name} was not written by bench --json"))?;
    ensure!(form == Some(FORM), "{name} was written by another version of bench: measure again with that of today");
    serde_json::from_str(&text).with_context(|| format!("{name} was not written by bench --json"))
}

/// Says for each figure that both runs have whether it moved.
pub(super) fn compare(old: &Report, new: &Report) -> String {
    let mut said = String::new();
    for figure in &new.figures {
        let Some(before) = old.figures.iter().find(|before| before.name == figure.name) else { continue };
        let ((was, _), (is, what)) = (compared(before), compared(figure));
        let times = is.median / was.median;
        let moved =
            if was.overlaps(&is) { "within the spread".to_owned() } else { format!("{times:.2} times as much") };
        let _ = writeln!(
            said,
            "{}, {what}: {} before, {} now: {moved}",
            figure.name,
            readable(was.median),
            readable(is.median)
        );
    }
    if said.is_empty() {
        said.push_str("the two runs have no figure in common\n");
    }
    said
}

fn compared(figure: &Figure) -> (Spread, &str) {
    match &figure.beside {
        Some(beside) => (beside.ratio, "ratio"),
        None => (figure.value, &figure.unit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(figures: Vec<Figure>) -> Report {
        Report { form: FORM, rounds: 2, seconds: 1, processors: 2, figures }
    }

    #[test]
    fn what_lies_beyond_the_spread_has_moved() {
        let figure = |name: &str, rounds: &[f64]| Figure::of(name, "x/s", rounds);
        let old = report(vec![figure("a", &[10.0, 12.0]), figure("b", &[10.0, 12.0]), figure("gone", &[1.0])]);
        let new = report(vec![figure("a", &[11.0, 30.0]), figure("b", &[22.0, 22.0]), figure("new", &[1.0])]);
        let said = compare(&old, &new);
        assert!(said.contains("a, x/s: 11.0 before, 20.5 now: within the spread"), "{said}");
        assert!(said.contains("b, x/s: 11.0 before, 22.0 now: 2.00 times as much"), "{said}");
        assert!(!said.contains("gone") && !said.contains("new"), "{said}");
    }

    #[test]
    fn ratios_are_compared_where_there_are_some() {
        let figure =
            |ours: &[f64], theirs: &[f64]| report(vec![Figure::of("a", "x/s", ours).beside("b", ours, theirs)]);
        let said = compare(&figure(&[10.0], &[20.0]), &figure(&[5.0], &[10.0]));
        assert!(said.contains("a, ratio: 0.50 before, 0.50 now: within the spread"), "{said}");
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let file = std::env::temp_dir().join(format!("towpath-compare-{}.json", std::process::id()));
        for (text, why) in [("{}", "another version"), ("no", "was not written by bench")] {
            fs::write(&file, text).unwrap();
            let error = format!("{:#}", read(&file).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
        fs::remove_file(&file).unwrap();
    }
}
