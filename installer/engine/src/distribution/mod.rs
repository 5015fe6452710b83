//! Bringing blobs to many nodes: each leaves the operator once, and nodes hand it on.
//!
//! | module | what it does |
//! |---|---|
//! | [`schedule`] | decides who gets what from whom |

pub mod schedule;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kubezt_model::{Digest, NodeName};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

pub use schedule::Source;
use schedule::{OrderId, Schedule, Transfer};

/// How long nothing may come of what the operator sends before others do not wait for it any more. Connections that are lost are
/// noticed later than that.
const STALLED: Duration = Duration::from_secs(30);

/// Whatever brings a blob to one node: links, or a simulation.
pub trait Carrier: Sync {
    /// Brings it; `progress` is told the bytes that are under way or there.
    fn carry(
        &self,
        blob: Digest,
        source: &Source,
        progress: &(dyn Fn(u64) + Sync),
    ) -> impl Future<Output = Result<(), String>> + Send;
}

/// What all nodes of a run want and have.
pub struct Distribution {
    state: Mutex<State>,
    relays: bool,
}

struct State {
    schedule: Schedule,
    /// Who is told of the next transfer of an order.
    told: BTreeMap<OrderId, UnboundedSender<Transfer>>,
}

impl Distribution {
    /// The operator sends to `uploads` nodes at a time, and a node to `relays` other ones; with 0, everything comes from the
    /// operator.
    pub fn new(uploads: usize, relays: usize) -> Self {
        let state = State { schedule: Schedule::new(uploads, relays), told: BTreeMap::new() };
        Self { state: Mutex::new(state), relays: relays > 0 }
    }

    /// Whether nodes hand anything on.
    pub fn relays(&self) -> bool {
        self.relays
    }

    /// A node has these blobs.
    pub fn has(&self, node: &NodeName, blobs: impl IntoIterator<Item = Digest>) {
        self.change(|state| blobs.into_iter().for_each(|blob| state.schedule.has(node, blob)));
    }

    /// Brings blobs to a node one after the other, each announced once it is there. They come in the order they are named, but
    /// for those that come sooner from somewhere else.
    ///
    /// # Errors
    /// What the carrier says of a blob that does not come from the operator either.
    pub async fn deliver(
        &self,
        node: &NodeName,
        blobs: Vec<Digest>,
        carrier: &impl Carrier,
        arrived: UnboundedSender<Digest>,
    ) -> Result<(), String> {
        let mut left = blobs.len();
        let mut order = self.order(node, blobs);
        while left > 0 {
            let Transfer { blob, source } = tokio::select! {
                Some(transfer) = order.transfers.recv() => transfer,
                // Nobody waits for the rest where applying has failed.
                () = arrived.closed() => return Ok(()),
            };
            let came = order.carry(carrier, blob, &source).await;
            match came {
                Ok(()) => {
                    left -= 1;
                    order.ended(true);
                    let _ = arrived.send(blob);
                }
                Err(why) if source == Source::Operator => return Err(why),
                // Whoever carries says why.
                Err(_) => order.ended(false),
            }
        }
        Ok(())
    }

    fn order(&self, node: &NodeName, blobs: Vec<Digest>) -> Order<'_> {
        let (told, transfers) = unbounded_channel();
        let id = self.change(|state| {
            let id = state.schedule.order(node, blobs);
            state.told.insert(id, told);
            id
        });
        Order { distribution: self, id, transfers }
    }

    /// Changes what is known, and lets begin what can.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state: MutexGuard<'_, State> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut state);
        for (order, transfer) in state.schedule.begin() {
            // An order that is given up at this moment gives its places back.
            if let Some(told) = state.told.get(&order) {
                let _ = told.send(transfer);
            }
        }
        answer
    }
}

/// Blobs that are on order for a node. Dropped, the rest is not wanted any more.
struct Order<'a> {
    distribution: &'a Distribution,
    id: OrderId,
    transfers: UnboundedReceiver<Transfer>,
}

impl Order<'_> {
    /// Has a blob carried, and lets nobody wait for it where nothing of it moves.
    async fn carry(&self, carrier: &impl Carrier, blob: Digest, source: &Source) -> Result<(), String> {
        let there = AtomicU64::new(0);
        let progress = |bytes| there.store(bytes, Ordering::Relaxed);
        let carrying = carrier.carry(blob, source, &progress);
        tokio::pin!(carrying);
        let mut before = there.load(Ordering::Relaxed);
        loop {
            tokio::select! {
                came = &mut carrying => return came,
                () = sleep(STALLED) => {}
            }
            let now = there.load(Ordering::Relaxed);
            if now == before {
                self.distribution.change(|state| state.schedule.stalls(self.id));
            }
            before = now;
        }
    }

    fn ended(&self, came: bool) {
        self.distribution.change(|state| state.schedule.ended(self.id, came));
    }
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        self.distribution.change(|state| {
            state.told.remove(&self.id);
            state.schedule.withdraw(self.id);
        });
    }
}
