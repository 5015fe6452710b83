//! A connection to a node that is made again when it is lost.
//!
//! Lost means that nothing answers any more. A node that shows another host key is not asked again. How often is bounded: by attempts for one loss, and by losses between which nothing got done.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::api::chain;
use crate::link::{LinkError, NodeConnection, NodeProgram};
use crate::transport::{Access, Target};

/// Seconds to wait before each attempt: a lost session is often back at once, a rebooted host in a minute.
const PAUSES: &[u64] = &[0, 1, 2, 4, 8, 15, 30];
/// Once a node was given up, one attempt tells whether it is back.
const PAUSES_LATER: &[u64] = &[0];
/// Losses in a row between which nothing got done.
const LOSSES: usize = 5;
/// Silence weighs more than a connection that ended: each was waited for, for a minute or more.
const SILENCE_WEIGHT: usize = 3;
/// Times the lock of a lost link is waited for, each some seconds: its node side ends after 75 s of silence.
const LOCKS: usize = 12;

/// A node's connection and how it was made.
pub(crate) struct Reconnecting {
    target: Target,
    access: Arc<Access>,
    program: Arc<NodeProgram>,
    operator: String,
    current: Mutex<Arc<NodeConnection>>,
    /// Held while a new connection is made, so that all work on the node shares it; and when and why making one failed last.
    making: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl Reconnecting {
    /// Connects for the first time, with one attempt.
    pub async fn open(
        target: Target,
        access: Arc<Access>,
        program: Arc<NodeProgram>,
        operator: String,
    ) -> Result<Self, LinkError> {
        let connection =
            NodeConnection::open(target.clone(), Arc::clone(&access), Arc::clone(&program), &operator)
                .await?;
        Ok(Self {
            target,
            access,
            program,
            operator,
            current: Mutex::new(Arc::new(connection)),
            making: tokio::sync::Mutex::default(),
        })
    }

    /// The connection as it is now.
    pub fn current(&self) -> Arc<NodeConnection> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a connection beside the one that is used, with one attempt.
    pub async fn another(&self) -> Result<NodeConnection, LinkError> {
        let (access, program) = (Arc::clone(&self.access), Arc::clone(&self.program));
        NodeConnection::open(self.target.clone(), access, program, &self.operator).await
    }

    /// Makes a new connection in place of one that was lost.
    async fn again(&self, lost: &Arc<NodeConnection>) -> Result<Arc<NodeConnection>, String> {
        let asked = Instant::now();
        let mut failed = self.making.lock().await;
        let current = self.current();
        if !Arc::ptr_eq(&current, lost) {
            return Ok(current);
        }
        // Whoever waited for attempts that failed makes none of its own: a node that is gone is given up once, not once a step.
        if let Some((when, why)) = failed.as_ref()
            && *when >= asked
        {
            return Err(why.clone());
        }
        let pauses = if failed.is_some() { PAUSES_LATER } else { PAUSES };
        let mut attempts = pauses.iter().peekable();
        loop {
            if let Some(seconds) = attempts.next() {
                tokio::time::sleep(Duration::from_secs(*seconds)).await;
            }
            match self.another().await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&connection);
                    *failed = None;
                    return Ok(connection);
                }
                Err(error) if (error.is_loss() || error.may_be_starting()) && attempts.peek().is_some() => {}
                Err(error) => {
                    let why = chain(&error);
                    *failed = Some((Instant::now(), why.clone()));
                    return Err(why);
                }
            }
        }
    }
}

/// The losses of one piece of work.
pub(crate) struct Losses<'a, T> {
    reconnecting: &'a Reconnecting,
    connection: Arc<NodeConnection>,
    in_a_row: usize,
    locks: usize,
    tell: T,
}

impl<'a, T: Fn(String)> Losses<'a, T> {
    /// None yet; `tell` hears of each.
    pub fn new(reconnecting: &'a Reconnecting, tell: T) -> Self {
        Self { reconnecting, connection: reconnecting.current(), in_a_row: 0, locks: 0, tell }
    }

    /// The connection to use.
    pub fn connection(&self) -> Arc<NodeConnection> {
        Arc::clone(&self.connection)
    }

    /// Something got done since the last loss.
    pub fn went_on(&mut self) {
        self.in_a_row = 0;
        self.locks = 0;
    }

    /// Connects again where the error is a loss.
    ///
    /// # Errors
    /// The cause chain of an error that is none, or that cannot be overcome.
    pub async fn overcome(&mut self, error: LinkError) -> Result<(), String> {
        // The node side of the lost connection may still hold the node's lock; it ends by itself.
        if self.in_a_row > 0 && self.locks < LOCKS && error.is_locked() {
            self.locks += 1;
            return Ok(());
        }
        if !error.is_loss() {
            return Err(chain(&error));
        }
        self.in_a_row += if matches!(error, LinkError::Timeout { .. }) { SILENCE_WEIGHT } else { 1 };
        if self.in_a_row > LOSSES {
            return Err(format!("{}; the connection was lost again and again", chain(&error)));
        }
        (self.tell)(format!("the connection was lost ({}); connecting again", chain(&error)));
        match self.reconnecting.again(&self.connection).await {
            Ok(connection) => {
                self.connection = connection;
                (self.tell)("connected again; going on".to_owned());
                Ok(())
            }
            Err(again) => Err(format!("the connection was lost and could not be made again: {again}")),
        }
    }
}
