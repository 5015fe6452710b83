//! Who gets which blob from whom: decisions alone, without a clock, a network or a disk.
//!
//! Each blob leaves the operator once. Whoever has it hands it on to a few others at a time, who hand it on in turn, so that it
//! spreads like a tree; and while it does, the operator sends the next one. What fails costs a transfer: the receiver is sent
//! elsewhere, at last to the operator.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kubezt_model::{Digest, NodeName};

/// Failures in a row after which a node is not asked to send any more, or gets everything from the operator. One is not enough:
/// it may be the other end's.
const PATIENCE: u8 = 2;
/// Senders that are remembered of a blob, the newest: more would have nobody to send to.
const SENDERS: usize = 128;

/// Where a blob comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The operator's machine.
    Operator,
    /// Another node, which has it.
    Node(NodeName),
}

/// Blobs that one node wants, by number.
pub type OrderId = u64;

/// A transfer that is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// What.
    pub blob: Digest,
    /// From where.
    pub source: Source,
}

/// What is wanted, who has what, and what is under way. It grows with the nodes and with the blobs, and by what is still wanted.
#[derive(Debug, Default)]
pub struct Schedule {
    uploads: usize,
    relays: usize,
    /// Transfers from the operator that go on.
    sending: usize,
    orders: BTreeMap<OrderId, Order>,
    /// Orders that wait for a transfer, by their rank and age.
    waiting: BTreeSet<(usize, OrderId)>,
    next: OrderId,
    members: Vec<Member>,
    places: BTreeMap<NodeName, Place>,
    supplies: BTreeMap<Digest, Supply>,
}

/// A node, by its place among the members.
type Place = usize;

#[derive(Debug)]
struct Order {
    node: Place,
    /// What has not come, in the order it is used.
    wanted: Vec<Digest>,
    /// How many have come, as far as they can be handed on. A node that has nothing comes first: with its first blob there is one
    /// more that hands something on, and the tree grows.
    rank: usize,
    under_way: Option<(Digest, Origin)>,
    /// Whether nobody waits for what is under way any more.
    stalled: bool,
}

/// Where a blob comes from: `None` is the operator.
type Origin = Option<Place>;

/// What is known of a node.
#[derive(Debug)]
struct Member {
    name: NodeName,
    sending: usize,
    /// Failures in a row, as sender and as receiver.
    failed_to_send: u8,
    failed_to_receive: u8,
    /// Who failed it last.
    avoids: Option<Place>,
}

/// Where a blob can be had.
#[derive(Debug, Default)]
struct Supply {
    /// Transfers of it from the operator that go on.
    leaving: usize,
    senders: VecDeque<Place>,
}

impl Schedule {
    /// The operator sends to `uploads` nodes at a time, and a node to `relays` other ones; with 0, everything comes from the
    /// operator.
    pub fn new(uploads: usize, relays: usize) -> Self {
        Self { uploads, relays, ..Self::default() }
    }

    /// A node has a blob.
    pub fn has(&mut self, node: &NodeName, blob: Digest) {
        let node = self.place(node);
        self.adds(node, blob);
    }

    /// A node wants blobs, in the order it uses them.
    pub fn order(&mut self, node: &NodeName, wanted: Vec<Digest>) -> OrderId {
        let (id, node) = (self.next, self.place(node));
        self.next += 1;
        self.orders.insert(id, Order { node, wanted, rank: 0, under_way: None, stalled: false });
        self.waiting.insert((0, id));
        id
    }

    /// The transfers that are to begin now, one at a time for an order.
    pub fn begin(&mut self) -> Vec<(OrderId, Transfer)> {
        let mut begun = Vec::new();
        // Places only become fewer here, so what one finds nowhere the next need not look for.
        let mut nowhere = BTreeSet::new();
        for (rank, id) in self.waiting.iter().copied().collect::<Vec<_>>() {
            let chosen = self.orders.get(&id).and_then(|order| self.choose(order, &mut nowhere));
            let Some((blob, origin)) = chosen else { continue };
            let source = match origin {
                None => {
                    self.sending += 1;
                    self.supplies.entry(blob).or_default().leaving += 1;
                    Source::Operator
                }
                Some(sender) => {
                    self.members[sender].sending += 1;
                    Source::Node(self.members[sender].name.clone())
                }
            };
            self.waiting.remove(&(rank, id));
            if let Some(order) = self.orders.get_mut(&id) {
                order.under_way = Some((blob, origin));
            }
            begun.push((id, Transfer { blob, source }));
        }
        begun
    }

    /// Nothing has come for a while of what the operator sends: others do not wait for it, and its place is free.
    pub fn stalls(&mut self, id: OrderId) {
        if let Some(order) = self.orders.get_mut(&id)
            && let Some((blob, None)) = order.under_way
            && !order.stalled
        {
            order.stalled = true;
            self.leaves_no_more(blob);
        }
    }

    /// What was under way has come, or has not: then it comes from elsewhere.
    pub fn ended(&mut self, id: OrderId, came: bool) {
        let Some((node, blob, origin)) = self.release(id) else { return };
        if let Some(sender) = origin {
            let failures = |before: u8| if came { 0 } else { before.saturating_add(1) };
            self.members[sender].failed_to_send = failures(self.members[sender].failed_to_send);
            self.members[node].failed_to_receive = failures(self.members[node].failed_to_receive);
            self.members[node].avoids = (!came).then_some(sender);
        }
        if came {
            self.adds(node, blob);
        }
        let Some(order) = self.orders.get_mut(&id) else { return };
        if came {
            order.wanted.retain(|wanted| *wanted != blob);
            order.rank += usize::from(self.relays > 0);
        }
        if order.wanted.is_empty() {
            self.orders.remove(&id);
        } else {
            self.waiting.insert((order.rank, id));
        }
    }

    /// Nobody wants the rest of an order.
    pub fn withdraw(&mut self, id: OrderId) {
        self.release(id);
        if let Some(order) = self.orders.remove(&id) {
            self.waiting.remove(&(order.rank, id));
        }
    }

    /// Gives the places of what is under way back.
    fn release(&mut self, id: OrderId) -> Option<(Place, Digest, Origin)> {
        let order = self.orders.get_mut(&id)?;
        let (node, (blob, origin)) = (order.node, order.under_way.take()?);
        let stalled = std::mem::take(&mut order.stalled);
        match origin {
            None if stalled => {}
            None => self.leaves_no_more(blob),
            Some(sender) => self.members[sender].sending -= 1,
        }
        Some((node, blob, origin))
    }

    fn leaves_no_more(&mut self, blob: Digest) {
        self.sending -= 1;
        self.supplies.entry(blob).or_default().leaving -= 1;
    }

    fn place(&mut self, node: &NodeName) -> Place {
        if let Some(place) = self.places.get(node) {
            return *place;
        }
        let place = self.members.len();
        self.places.insert(node.clone(), place);
        let (name, avoids) = (node.clone(), None);
        self.members.push(Member { name, sending: 0, failed_to_send: 0, failed_to_receive: 0, avoids });
        place
    }

    fn adds(&mut self, node: Place, blob: Digest) {
        let senders = &mut self.supplies.entry(blob).or_default().senders;
        if self.relays > 0 && !senders.contains(&node) {
            senders.push_back(node);
            if senders.len() > SENDERS {
                senders.pop_front();
            }
        }
    }

    /// The first blob of an order that can be had. Everything comes over the operator's line once, so that comes before all else
    /// where it rests.
    fn choose(&self, order: &Order, nowhere: &mut BTreeSet<Digest>) -> Option<(Digest, Origin)> {
        // Others may go where one does not that was failed.
        let is_plain = self.members[order.node].failed_to_receive == 0;
        let mut found = None;
        for blob in &order.wanted {
            if is_plain && nowhere.contains(blob) {
                continue;
            }
            match self.origin(order.node, blob) {
                Some(None) => return Some((*blob, None)),
                Some(origin) if self.sending > 0 => return Some((*blob, origin)),
                Some(origin) => found = found.or(Some((*blob, origin))),
                None if is_plain => drop(nowhere.insert(*blob)),
                None => {}
            }
        }
        found
    }

    /// Where a node gets a blob at the moment; `None` where that is worth waiting for.
    fn origin(&self, node: Place, blob: &Digest) -> Option<Origin> {
        let member = &self.members[node];
        let supply = self.supplies.get(blob);
        let senders = || {
            let senders = supply.into_iter().flat_map(|supply| supply.senders.iter().rev().copied());
            senders.filter(|sender| {
                let fails = self.members[*sender].failed_to_send >= PATIENCE;
                !fails && *sender != node && member.avoids != Some(*sender)
            })
        };
        let relayed = self.relays > 0 && member.failed_to_receive < PATIENCE;
        if relayed {
            let sending = |sender: &Place| self.members[*sender].sending;
            let free = senders().filter(|sender| sending(sender) < self.relays);
            if let Some(sender) = free.min_by_key(sending) {
                return Some(Some(sender));
            }
        }
        let comes =
            relayed && (senders().next().is_some() || supply.is_some_and(|supply| supply.leaving > 0));
        (!comes && self.sending < self.uploads).then_some(None)
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
