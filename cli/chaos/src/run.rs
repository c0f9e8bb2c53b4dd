//! A run, from its beginning to its report.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio_util::sync::CancellationToken;
use towpath_audit::{Databases, Scope};
use towpath_stack::signals::Signals;
use towpath_stack::terminal::{say, saying};

use super::evidence::{Baseline, Evidence, Watch, answers, letters_since};
use super::fault::Fault;
use super::judge::{Case, Compared, Window, judge};
use super::load::{Load, Shop};
use super::machine::Machine;
use super::quiet;
use super::record::Record;
use super::replay::replay;
use super::report::{Report, Settings};
use super::schedule::Planned;
use super::stage::Stage;
use super::strikes::{Strikes, clock};

/// How long clients that still have no answer try on after the load was stopped.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// How long what others began may take before the run.
const BEFORE: Duration = Duration::from_secs(30);

/// What a run is made of.
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) stage: Arc<Stage>,
    pub(super) faults: Vec<Box<dyn Fault>>,
    pub(super) plan: Vec<Planned>,
    /// How long the load lasts at least.
    pub(super) span: Duration,
}

impl Run {
    /// Does all of it.
    ///
    /// # Errors
    /// Where it could not be carried out; a broken promise is none.
    pub(super) async fn carry_out(self) -> Result<Report> {
        let Self { settings, stage, .. } = &self;
        // A name of its own, also where the seed was there before: nobody's orders are touched.
        let name = format!("chaos-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        is_well(stage).await?;
        let baseline = Baseline::take(stage).await?;
        let shop = Arc::new(Shop::open(&stage.urls[0], &name).await?);
        quiet::prices(stage, &name, shop.products()).await?;
        let record = Arc::new(Record::begin());
        let watch = Watch::begin(Arc::clone(stage));
        say(&format!("{} orders a second for {}, named {name}-…", settings.rate, clock(self.span)));
        let mut signals = Signals::new()?;
        let machine = Machine::watch(&stage.home.data(), &record)?;
        let load = Load::begin(settings.seed, settings.rate, &stage.urls, shop, Arc::clone(&record))?;
        let struck = self.strike(&record, &mut signals).await;
        say(&format!("[{}] the load ends; the last clients get their answers", clock(record.now())));
        load.end(LAST_ANSWERS).await;
        let lasted = record.now();
        drop(machine);
        let (windows, witness) = (struck?, record.witness());
        let (audit, provider, evidence) = tokio::select! {
            settled = self.settle(&name, &baseline, &windows, &witness) => settled?,
            () = signals.next() => bail!("stopped before there was anything to judge"),
        };
        let watched = watch.end().await?;
        let (witness, evidence, watched, audit, provider) = (&witness, &evidence, &watched, &audit, &provider);
        let case = Case { witness, windows: &windows, evidence, watched, audit, provider };
        let promises = judge(&case);
        Ok(Report::of(settings.clone(), lasted, &case, promises))
    }

    /// Lets the faults strike until all have, and the load go on until its time is over or somebody asks for the end.
    async fn strike(&self, record: &Arc<Record>, signals: &mut Signals) -> Result<Vec<Window>> {
        let stop = CancellationToken::new();
        let strikes = Strikes { stage: &self.stage, record, faults: &self.faults, stop: &stop };
        let work = async {
            let windows = strikes.run(&self.plan).await?;
            let rest = self.span.saturating_sub(record.now());
            stop.run_until_cancelled(tokio::time::sleep(rest)).await;
            Ok(windows)
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                windows = &mut work => return windows,
                () = signals.next() => {
                    say("Stopping: what was broken is mended first, then what there is is judged.");
                    stop.cancel();
                }
            }
        }
    }

    /// Waits for quiet, and gathers what there is. Dead letters that faults made are replayed first, as a person would:
    /// their orders come to their ends only then.
    async fn settle(
        &self,
        name: &str,
        baseline: &Baseline,
        windows: &[Window],
        witness: &super::record::Witness,
    ) -> Result<(towpath_audit::Report, Compared, Evidence)> {
        let kafka = self.stage.running()?.kafka;
        let letters = replay(&self.stage, &baseline.letters, windows).await?;
        say("waiting until every order has come to its end");
        let audit = quiet::orders(&self.stage, witness).await?;
        let provider = quiet::provider(&self.stage).await?;
        let mut evidence = quiet::evidence(&self.stage, name, baseline).await?;
        evidence.letters = letters;
        evidence.letters_left = letters_since(&kafka, &baseline.letters).await?;
        Ok((audit, provider, evidence))
    }
}

/// What is broken before can't be told from what the run breaks.
async fn is_well(stage: &Stage) -> Result<()> {
    let running = stage.running()?;
    saying(&format!("Kafka at {}", running.kafka.address), answers(&running.kafka)).await?;
    let databases = Databases::of(&running);
    let all = Scope::all();
    let settled = towpath_audit::settled(&databases, &all, &[], BEFORE);
    let report = saying("what others have in flight", settled).await.context("before the run")?;
    if !report.is_clean() {
        bail!("this stack breaks promises before anything is done to it:\n{report}Begin with one that doesn't.");
    }
    let compared = quiet::provider(stage).await.context("before the run")?;
    if let Some(difference) = compared.differences.iter().find(|difference| !difference.in_flight) {
        bail!("before anything is done to this stack, payments are not what their provider says:\n{difference}");
    }
    Ok(())
}
