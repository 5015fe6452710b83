//! `auto`: upstream's bytes where upstream can be reached, else compiled. Decided once a run.
//!
//! What was released and what was compiled differ, and to change from one to the other changes components on every node. So what
//! is cached of the release counts as reached.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kubezt_model::artifacts::ArtifactSource;
use tokio::sync::OnceCell;

use super::Origin;
use crate::download::{Trust, silence};

/// What was decided, or is going to be. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Choice(Arc<OnceCell<ArtifactSource>>);

impl Choice {
    /// What was decided; `decide` is asked where nothing was.
    pub(crate) async fn settle(&self, decide: impl Future<Output = ArtifactSource>) -> Origin {
        match self.0.get_or_init(|| decide).await {
            ArtifactSource::Release => Origin::Release,
            _ => Origin::Source,
        }
    }
}

/// How long a host may take to show that it is there.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// Chooses by whether every one of these URLs' hosts answers in time; says why.
pub(crate) async fn choose(
    trust: &Trust,
    urls: BTreeSet<String>,
    within: Duration,
) -> (ArtifactSource, String) {
    if urls.is_empty() {
        return (ArtifactSource::Release, "everything is in the cache".to_owned());
    }
    let asked = futures::future::join_all(urls.iter().map(|url| silence(trust, url, within))).await;
    let silent: BTreeSet<String> = asked.into_iter().flatten().collect();
    match silent.is_empty() {
        true => (ArtifactSource::Release, format!("{} answered", Vec::from_iter(urls).join(", "))),
        false => (ArtifactSource::Source, Vec::from_iter(silent).join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Reply, serve, silent};

    #[tokio::test]
    async fn the_release_is_taken_where_every_host_answers_whatever_it_says() {
        let elsewhere = |_| Reply::status(302).with("Location", "http://192.0.2.1/");
        let [one, other] = [serve(elsewhere).await, serve(|_| Reply::status(503)).await];
        let urls =
            |addresses: &[&String]| addresses.iter().map(|address| format!("http://{address}/")).collect();
        let (chosen, why) = choose(&Trust::Loopback, urls(&[&one, &other]), Duration::from_secs(60)).await;
        assert_eq!(chosen, ArtifactSource::Release, "{why}");
        let silent = silent().await;
        let (chosen, why) = choose(&Trust::Loopback, urls(&[&one, &silent.address]), ANSWER).await;
        assert_eq!(chosen, ArtifactSource::Source);
        assert!(why.contains(&silent.address) && why.contains("within 3 s"), "{why}");
        let (chosen, why) = choose(&Trust::Loopback, BTreeSet::new(), ANSWER).await;
        assert!(chosen == ArtifactSource::Release && why.contains("cache"), "{why}");
    }

    #[tokio::test]
    async fn what_was_decided_stays_for_all_clones() {
        let choice = Choice::default();
        let first = choice.clone().settle(async { ArtifactSource::Source }).await;
        let second = choice.settle(async { panic!("it was decided before") }).await;
        assert!(matches!((first, second), (Origin::Source, Origin::Source)));
    }
}
