//! Starts parts and runs tasks, each as soon as its dependencies are ready, in parallel.
use std::collections::HashMap;

use anyhow::{Result, anyhow};
use futures::future::{BoxFuture, FutureExt, Shared, try_join_all};
use tokio::sync::mpsc;

use super::events::Event;
use super::part::Handle;
use super::spec::Task;

/// One step of starting. An error is text, since several that wait for the same step get it.
type Step = Shared<BoxFuture<'static, Result<(), String>>>;

/// Starts everything; ends at the first error.
///
/// Invariant: whatever a part or task names in `after` is known, and nothing waits for itself: the plans are made by this
/// program, and `order` says so where one breaks it.
pub(super) async fn boot(parts: &[Handle], tasks: Vec<Task>, events: &mpsc::UnboundedSender<Event>) -> Result<()> {
    let mut open: Vec<(String, Vec<String>, BoxFuture<'static, Result<()>>)> = Vec::new();
    for part in parts {
        let handle = part.clone();
        open.push((part.spec.name.clone(), part.spec.after.clone(), async move { handle.start().await }.boxed()));
    }
    for task in tasks {
        let (name, events) = (task.name.clone(), events.clone());
        let work = async move {
            let began = tokio::time::Instant::now();
            task.work.await?;
            let _ = events.send(Event::Said(format!("{name}: done in {:.1} s", began.elapsed().as_secs_f64())));
            Ok(())
        };
        open.push((task.name, task.after, work.boxed()));
    }
    let steps = order(open)?;
    try_join_all(steps).await.map(drop).map_err(|error| anyhow!(error))
}

fn order(mut open: Vec<(String, Vec<String>, BoxFuture<'static, Result<()>>)>) -> Result<Vec<Step>> {
    let mut known: HashMap<String, Step> = HashMap::new();
    while !open.is_empty() {
        let (possible, rest): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(_, after, _)| after.iter().all(|name| known.contains_key(name)));
        if possible.is_empty() {
            let names: Vec<String> = rest.into_iter().map(|(name, ..)| name).collect();
            return Err(anyhow!("these wait for something that never starts: {}", names.join(", ")));
        }
        for (name, after, work) in possible {
            let needs: Vec<Step> = after.iter().filter_map(|name| known.get(name).cloned()).collect();
            let step = async move {
                try_join_all(needs).await?;
                work.await.map_err(|error| format!("{error:#}"))
            };
            known.insert(name, step.boxed().shared());
        }
        open = rest;
    }
    Ok(known.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn task(name: &'static str, after: &[&str], done: &Arc<Mutex<Vec<&'static str>>>) -> Task {
        let done = Arc::clone(done);
        Task {
            name: name.to_owned(),
            after: after.iter().map(|name| (*name).to_owned()).collect(),
            work: async move {
                tokio::task::yield_now().await;
                done.lock().unwrap().push(name);
                Ok(())
            }
            .boxed(),
        }
    }

    #[tokio::test]
    async fn each_waits_for_what_it_needs() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let tasks = vec![task("c", &["a", "b"], &done), task("b", &["a"], &done), task("a", &[], &done)];
        let (events, _keep) = mpsc::unbounded_channel();
        boot(&[], tasks, &events).await.unwrap();
        assert_eq!(*done.lock().unwrap(), ["a", "b", "c"]);
    }

    #[tokio::test]
    async fn what_waits_for_a_failure_never_begins() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let mut first = task("a", &[], &done);
        first.work = async { anyhow::bail!("no") }.boxed();
        let (events, _keep) = mpsc::unbounded_channel();
        let error = boot(&[], vec![first, task("b", &["a"], &done)], &events).await.unwrap_err();
        assert_eq!(error.to_string(), "no");
        assert!(done.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_circle_is_refused() {
        let done = Arc::new(Mutex::new(Vec::new()));
        let (events, _keep) = mpsc::unbounded_channel();
        let error = boot(&[], vec![task("a", &["b"], &done), task("b", &["a"], &done)], &events).await.unwrap_err();
        assert!(error.to_string().contains("never starts"), "{error}");
    }
}
