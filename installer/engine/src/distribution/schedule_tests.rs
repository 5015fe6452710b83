use proptest::prelude::*;

use super::*;

fn node(number: usize) -> NodeName {
    format!("n{number}").parse().unwrap()
}

fn blob(number: usize) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn blobs(count: usize) -> Vec<Digest> {
    (0..count).map(blob).collect()
}

/// Each of these nodes wants so many blobs.
fn want(schedule: &mut Schedule, nodes: std::ops::Range<usize>, count: usize) -> Vec<OrderId> {
    nodes.map(|number| schedule.order(&node(number), blobs(count))).collect()
}

/// Lets transfers begin and end in rounds of equal length; answers with the transfers of each.
fn rounds(schedule: &mut Schedule) -> Vec<Vec<(OrderId, Transfer)>> {
    let mut rounds = Vec::new();
    loop {
        let begun = schedule.begin();
        if begun.is_empty() {
            return rounds;
        }
        begun.iter().for_each(|(order, _)| schedule.ended(*order, true));
        rounds.push(begun);
    }
}

fn leaves<'a>(transfers: impl IntoIterator<Item = &'a (OrderId, Transfer)>) -> Vec<Digest> {
    let from_operator = transfers.into_iter().filter(|(_, transfer)| transfer.source == Source::Operator);
    from_operator.map(|(_, transfer)| transfer.blob).collect()
}

#[test]
fn a_blob_spreads_like_a_tree() {
    let mut schedule = Schedule::new(8, 1);
    want(&mut schedule, 0..64, 1);
    let rounds = rounds(&mut schedule);
    let receivers: Vec<usize> = rounds.iter().map(Vec::len).collect();
    assert_eq!(receivers, [1, 1, 2, 4, 8, 16, 32]);
    assert_eq!(leaves(rounds.iter().flatten()), blobs(1));
}

#[test]
fn the_operator_sends_the_next_blob_while_the_one_before_spreads() {
    let mut schedule = Schedule::new(1, 1);
    want(&mut schedule, 0..8, 4);
    let rounds = rounds(&mut schedule);
    for (round, sent) in rounds.iter().take(4).enumerate() {
        assert_eq!(leaves(sent), [blob(round)], "{rounds:#?}");
    }
    assert!(rounds.len() <= 9, "{rounds:#?}");
    assert_eq!(leaves(rounds.iter().flatten()).len(), 4);
}

#[test]
fn what_nodes_have_already_they_hand_on() {
    let mut schedule = Schedule::new(8, 2);
    schedule.has(&node(0), blob(0));
    let order = schedule.order(&node(1), blobs(1));
    let source = Source::Node(node(0));
    assert_eq!(schedule.begin(), [(order, Transfer { blob: blob(0), source })]);
}

#[test]
fn without_relays_the_first_nodes_get_all_they_want_first() {
    let mut schedule = Schedule::new(2, 0);
    schedule.has(&node(0), blob(0));
    let orders = want(&mut schedule, 0..4, 3);
    let rounds = rounds(&mut schedule);
    assert_eq!(leaves(rounds.iter().flatten()).len(), 12);
    let served: Vec<Vec<OrderId>> =
        rounds.iter().map(|round| round.iter().map(|(order, _)| *order).collect()).collect();
    assert_eq!(served[..3], vec![orders[..2].to_vec(); 3]);
    assert_eq!(served[3..], vec![orders[2..].to_vec(); 3]);
}

/// Two in a row that fail it, and a node goes to the operator; two in a row that it fails, and nobody asks it any more.
#[test]
fn who_fails_is_left_alone() {
    let mut schedule = Schedule::new(8, 1);
    for sender in [1, 2, 3] {
        schedule.has(&node(sender), blob(0));
    }
    let poor = schedule.order(&node(0), blobs(1));
    let mut asked = Vec::new();
    loop {
        let begun = schedule.begin();
        let [(order, transfer)] = &begun[..] else { panic!("{begun:?}") };
        assert_eq!(*order, poor);
        let ends = transfer.source == Source::Operator;
        asked.push(transfer.source.clone());
        schedule.ended(*order, ends);
        if ends {
            break;
        }
    }
    assert_eq!(asked, [Source::Node(node(3)), Source::Node(node(2)), Source::Operator]);

    // The first to fail it still serves the others; failing once more, it does not.
    want(&mut schedule, 4..8, 1);
    let begun = schedule.begin();
    let bad = begun.iter().find(|(_, transfer)| transfer.source == Source::Node(node(3))).unwrap().0;
    begun.iter().for_each(|(order, _)| schedule.ended(*order, *order != bad));
    want(&mut schedule, 8..20, 1);
    let later = rounds(&mut schedule);
    assert!(
        later.iter().flatten().all(|(_, transfer)| transfer.source != Source::Node(node(3))),
        "{later:?}"
    );
    assert_eq!(leaves(later.iter().flatten()), []);
}

/// The first receiver hangs: others get the blob after a while, and what comes to it later is as good.
#[test]
fn nobody_waits_for_what_stalls() {
    let mut schedule = Schedule::new(1, 1);
    let hung = schedule.order(&node(0), blobs(1));
    let other = schedule.order(&node(1), blobs(1));
    assert_eq!(schedule.begin().len(), 1);
    assert_eq!(schedule.begin(), []);
    schedule.stalls(hung);
    schedule.stalls(hung);
    assert_eq!(schedule.begin(), [(other, Transfer { blob: blob(0), source: Source::Operator })]);
    schedule.ended(hung, true);
    schedule.withdraw(other);
    let third = schedule.order(&node(2), blobs(1));
    assert_eq!(schedule.begin(), [(third, Transfer { blob: blob(0), source: Source::Node(node(0)) })]);
}

#[test]
fn what_was_under_way_to_a_node_that_is_lost_leaves_again() {
    let mut schedule = Schedule::new(1, 1);
    let lost = schedule.order(&node(0), blobs(2));
    let other = schedule.order(&node(1), blobs(2));
    assert_eq!(schedule.begin().len(), 1);
    schedule.withdraw(lost);
    assert_eq!(schedule.begin(), [(other, Transfer { blob: blob(0), source: Source::Operator })]);
}

#[test]
fn memory_does_not_grow_with_nodes_times_blobs() {
    let (nodes, count) = (1000, 20);
    let mut schedule = Schedule::new(8, 2);
    want(&mut schedule, 0..nodes, count);
    assert_eq!(rounds(&mut schedule).iter().map(Vec::len).sum::<usize>(), nodes * count);
    assert!(schedule.orders.is_empty() && schedule.waiting.is_empty());
    assert_eq!(schedule.members.len(), nodes);
    let senders = schedule.supplies.values().map(|supply| supply.senders.len());
    assert_eq!(senders.sum::<usize>(), count * SENDERS);
}

#[derive(Debug, Clone)]
struct Fleet {
    uploads: usize,
    relays: usize,
    /// Blobs that each node wants.
    wanted: Vec<BTreeSet<usize>>,
    /// Which transfer ends next among those under way, and how.
    ends: Vec<(usize, End)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Comes,
    Fails,
    Stalls,
    /// Its receiver is lost.
    Lost,
}

fn fleet(end: impl Strategy<Value = End> + 'static) -> impl Strategy<Value = Fleet> {
    let wanted = prop::collection::vec(prop::collection::btree_set(0..6_usize, 1..6), 1..12);
    let ends = prop::collection::vec((any::<usize>(), end), 100);
    (1..4_usize, 0..4_usize, wanted, ends).prop_map(|(uploads, relays, wanted, ends)| Fleet {
        uploads,
        relays,
        wanted,
        ends,
    })
}

/// Lets it happen; answers with how often each blob left the operator.
fn play(fleet: Fleet) -> Result<BTreeMap<Digest, usize>, TestCaseError> {
    let Fleet { uploads, relays, wanted, mut ends } = fleet;
    let mut schedule = Schedule::new(uploads, relays);
    let mut left: BTreeMap<OrderId, (NodeName, BTreeSet<Digest>)> = BTreeMap::new();
    for (number, wanted) in wanted.iter().enumerate() {
        let wanted: Vec<Digest> = wanted.iter().map(|number| blob(*number)).collect();
        let order = schedule.order(&node(number), wanted.clone());
        left.insert(order, (node(number), wanted.into_iter().collect()));
    }
    let mut has: BTreeSet<(NodeName, Digest)> = BTreeSet::new();
    let mut under_way: Vec<(OrderId, Transfer, bool)> = Vec::new();
    let mut leaves: BTreeMap<Digest, usize> = BTreeMap::new();
    loop {
        for (order, transfer) in schedule.begin() {
            let (receiver, wanted) = &left[&order];
            prop_assert!(wanted.contains(&transfer.blob), "{receiver} gets what it does not want");
            prop_assert!(under_way.iter().all(|(other, ..)| *other != order), "{receiver} gets two at once");
            match &transfer.source {
                Source::Operator => *leaves.entry(transfer.blob).or_default() += 1,
                Source::Node(sender) => {
                    prop_assert!(has.contains(&(sender.clone(), transfer.blob)), "{sender} does not have it");
                    prop_assert!(sender != receiver && relays > 0);
                }
            }
            under_way.push((order, transfer, false));
        }
        let mut senders: BTreeMap<&Source, usize> = BTreeMap::new();
        for (_, transfer, stalled) in &under_way {
            *senders.entry(&transfer.source).or_default() += usize::from(!stalled);
        }
        for (source, count) in senders {
            let most = if *source == Source::Operator { uploads } else { relays };
            prop_assert!(count <= most, "{source:?} sends {count} at a time");
        }
        if under_way.is_empty() {
            prop_assert!(left.values().all(|(_, wanted)| wanted.is_empty()), "some wait for ever");
            return Ok(leaves);
        }
        // Once what was drawn is used up, all goes well.
        let (which, end) = ends.pop().unwrap_or((0, End::Comes));
        let which = which % under_way.len();
        let of_operator = under_way[which].1.source == Source::Operator;
        if end == End::Stalls {
            under_way[which].2 |= of_operator;
            schedule.stalls(under_way[which].0);
            continue;
        }
        let (order, transfer, _) = under_way.remove(which);
        if end == End::Lost || (end == End::Fails && of_operator) {
            schedule.withdraw(order);
            left.remove(&order);
        } else {
            schedule.ended(order, end == End::Comes);
        }
        if end == End::Comes
            && let Some((receiver, wanted)) = left.get_mut(&order)
        {
            wanted.remove(&transfer.blob);
            has.insert((receiver.clone(), transfer.blob));
        }
    }
}

proptest! {
    #[test]
    fn whatever_fails_everybody_gets_everything(
        fleet in fleet(prop::sample::select(vec![End::Comes, End::Comes, End::Fails, End::Stalls, End::Lost])),
    ) {
        play(fleet)?;
    }

    #[test]
    fn where_nothing_fails_each_blob_leaves_once(fleet in fleet(Just(End::Comes))) {
        let relays = fleet.relays > 0;
        let wanted: BTreeSet<usize> = fleet.wanted.iter().flatten().copied().collect();
        let leaves = play(fleet)?;
        prop_assert_eq!(leaves.len(), wanted.len());
        prop_assert!(!relays || leaves.values().all(|times| *times == 1), "{:?}", leaves);
    }
}
