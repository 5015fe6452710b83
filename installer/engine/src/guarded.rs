//! Carries out a change that could cut the operator off: done on the node for a while, then confirmed over a connection that did not
//! exist before, or undone.

use std::fmt::Write as _;
use std::future::Future;
use std::time::Duration;

use kubezt_model::action::Outcome;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::api::chain;
use crate::link::LinkError;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// After which the node undoes it, in seconds; for messages.
    seconds: u32,
    /// New connections are tried for as long; a while before the node undoes it.
    confirming: Duration,
    /// Pause between two of them.
    pause: Duration,
    /// Undoing it, over the connection that was there before.
    undoing: Duration,
}

impl Patience {
    /// For a change that the node undoes after these seconds.
    pub(crate) fn within(seconds: u32) -> Self {
        Self {
            seconds,
            confirming: Duration::from_secs(seconds.saturating_sub(10).into()),
            pause: Duration::from_secs(1),
            undoing: Duration::from_secs(15),
        }
    }
}

/// A node on which it is done.
pub(crate) trait Trial {
    /// Does it, over the connection that is there.
    fn begin(&self) -> impl Future<Output = Result<Outcome, LinkError>> + Send;

    /// Makes a new connection and confirms it over that one.
    fn confirm(&self) -> impl Future<Output = Result<Outcome, LinkError>> + Send;

    /// Undoes it, over the connection that is there.
    fn undo(&self) -> impl Future<Output = Result<Outcome, LinkError>> + Send;
}

/// Does it and confirms it. Returns within the seconds after which the node undoes it by itself and those that undoing takes, and
/// the silence that a lost connection is allowed.
///
/// # Errors
/// It was refused; or not confirmed: why, what became of it, and how to look.
pub(crate) async fn carry_out(trial: &impl Trial, patience: Patience) -> Result<Outcome, String> {
    let (deadline, seconds) = (Instant::now() + patience.confirming, patience.seconds);
    match trial.begin().await {
        Ok(Outcome::Changed { .. }) => {}
        Ok(unchanged @ Outcome::Unchanged { .. }) => return Ok(unchanged),
        Ok(Outcome::Failed { error }) => return Err(error),
        // It may have been done, and have cut this very connection: a new one tells.
        Err(error) if error.is_loss() => {}
        Err(error) => return Err(chain(&error)),
    }
    let why = match confirmed(trial, deadline, patience.pause).await {
        Ok(outcome) => return Ok(outcome),
        Err(why) => why,
    };
    let mut said = format!("not confirmed over a new connection ({why}); ");
    let _ = match timeout(patience.undoing, trial.undo()).await {
        Ok(Ok(Outcome::Changed { .. })) => write!(said, "the node has undone it"),
        Ok(Ok(Outcome::Unchanged { .. })) => {
            write!(
                said,
                "the node has undone it by itself, unless only the answer to the confirmation was lost"
            )
        }
        Ok(Ok(Outcome::Failed { error })) => {
            write!(
                said,
                "undoing it failed ({error}), and the node tries it again by itself within {seconds} s"
            )
        }
        Ok(Err(_)) | Err(_) => write!(said, "the node undoes it by itself within {seconds} s"),
    };
    said.push_str("; on the node, `journalctl -u kubezt-undo` and `nft list table inet kubezt` show it");
    Err(said)
}

/// Tries new connections until one confirms it or the time is up.
async fn confirmed(trial: &impl Trial, deadline: Instant, pause: Duration) -> Result<Outcome, String> {
    let mut last = "the node did not answer in time".to_owned();
    loop {
        match timeout_at(deadline, trial.confirm()).await {
            Ok(Ok(Outcome::Failed { error })) => return Err(error),
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(error)) if error.is_loss() || error.may_be_starting() => last = chain(&error),
            Ok(Err(error)) => return Err(chain(&error)),
            Err(_) => return Err(last),
        }
        sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::*;

    const QUICK: Patience = Patience {
        seconds: 60,
        confirming: Duration::from_millis(60),
        pause: Duration::from_millis(5),
        undoing: Duration::from_millis(30),
    };

    #[derive(Clone, Copy)]
    enum Answer {
        Changed,
        Unchanged,
        Failed,
        Lost,
        Silence,
    }
    use Answer::{Changed, Failed, Lost, Silence, Unchanged};

    /// A node that answers as it is told, the last answer for ever.
    struct Script {
        begin: Answer,
        confirm: Mutex<VecDeque<Answer>>,
        undo: Answer,
        asked: Mutex<Vec<&'static str>>,
    }

    impl Script {
        fn new(begin: Answer, confirm: &[Answer], undo: Answer) -> Self {
            let confirm = Mutex::new(confirm.iter().copied().collect());
            Self { begin, confirm, undo, asked: Mutex::default() }
        }

        async fn answer(&self, what: &'static str, answer: Answer) -> Result<Outcome, LinkError> {
            self.asked.lock().unwrap().push(what);
            match answer {
                Changed => Ok(Outcome::Changed { output: None }),
                Unchanged => Ok(Outcome::Unchanged { output: None }),
                Failed => Ok(Outcome::Failed { error: "refused".to_owned() }),
                Lost => Err(LinkError::Closed {
                    node: "w1".to_owned(),
                    doing: "applying actions".to_owned(),
                    why: "the stream is closed".to_owned(),
                }),
                Silence => std::future::pending().await,
            }
        }

        fn asked(&self) -> Vec<&'static str> {
            self.asked.lock().unwrap().clone()
        }
    }

    impl Trial for Script {
        async fn begin(&self) -> Result<Outcome, LinkError> {
            self.answer("begin", self.begin).await
        }

        async fn confirm(&self) -> Result<Outcome, LinkError> {
            let answer = {
                let mut answers = self.confirm.lock().unwrap();
                if answers.len() > 1 { answers.pop_front() } else { answers.front().copied() }
            };
            self.answer("confirm", answer.unwrap()).await
        }

        async fn undo(&self) -> Result<Outcome, LinkError> {
            self.answer("undo", self.undo).await
        }
    }

    #[tokio::test]
    async fn what_is_confirmed_stays() {
        for begin in [Changed, Lost] {
            let node = Script::new(begin, &[Lost, Changed], Failed);
            assert!(matches!(carry_out(&node, QUICK).await, Ok(Outcome::Changed { .. })));
            assert_eq!(node.asked(), ["begin", "confirm", "confirm"]);
        }
    }

    #[tokio::test]
    async fn what_is_so_already_or_refused_is_not_confirmed() {
        let node = Script::new(Unchanged, &[Silence], Failed);
        assert!(matches!(carry_out(&node, QUICK).await, Ok(Outcome::Unchanged { .. })));
        let refused = Script::new(Failed, &[Silence], Failed);
        assert_eq!(carry_out(&refused, QUICK).await.unwrap_err(), "refused");
        assert_eq!((node.asked(), refused.asked()), (vec!["begin"], vec!["begin"]));
    }

    #[tokio::test]
    async fn without_a_new_connection_it_is_undone_in_time_and_the_message_says_by_whom() {
        for (confirm, undo, said) in [
            (Silence, Changed, "the node has undone it;"),
            (Lost, Changed, "the node has undone it;"),
            (Failed, Unchanged, "has undone it by itself"),
            (Silence, Silence, "undoes it by itself within 60 s"),
            (Silence, Lost, "undoes it by itself within 60 s"),
            (Silence, Failed, "undoing it failed (refused)"),
        ] {
            let node = Script::new(Changed, &[confirm], undo);
            let began = Instant::now();
            let error = carry_out(&node, QUICK).await.unwrap_err();
            assert!(error.contains(said) && error.contains("kubezt-undo"), "{error}");
            assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
            assert_eq!(node.asked().last(), Some(&"undo"));
        }
    }
}
