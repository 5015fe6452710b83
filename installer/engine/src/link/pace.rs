//! Whether compressing pays on a link, learnt from what was sent on it.
//!
//! Compressed blocks travel faster where the network is the bottleneck, and slower where the processors are: those of the
//! operator, of a node that unpacks, or of a machine that is both. Neither end can tell which it is, so both ways are tried and
//! the faster one is kept.

use std::time::{Duration, Instant};

/// Bytes of content in a round: more than what is under way at any moment, or buffers would be measured.
const ROUND_BYTES: u64 = 24 << 20;
/// A round on a slow network ends by time.
const ROUND: Duration = Duration::from_secs(2);
/// How much faster compressed content must be. Where the network is the bottleneck it is twice as fast; where something else is,
/// both are as fast as that, and compressing would only take processor time away from it.
const WORTH: f64 = 1.4;
/// Rounds after which the slower way gets another chance.
const PATIENCE: u32 = 16;

/// The pace of a link, round by round. One transfer at a time tells it what it sends.
#[derive(Debug, Default)]
pub struct Pace {
    round: Option<Round>,
    /// Bytes of content a second in the last round of each kind.
    plain: Option<f64>,
    deflated: Option<f64>,
    settled: u32,
    deflate: bool,
}

#[derive(Debug)]
struct Round {
    since: Instant,
    bytes: u64,
    held_up: bool,
}

impl Pace {
    /// A transfer begins: what lies between two transfers is not measured.
    pub fn begin(&mut self) {
        self.round = None;
    }

    /// Whether the next block is to be compressed, with the bytes of content in it. `held_up` says that blocks wait for the
    /// network; where they do not, reading is what takes time, and nothing is gained by making them smaller.
    pub fn deflate(&mut self, bytes: u64, held_up: bool, now: Instant) -> bool {
        let round = self.round.get_or_insert(Round { since: now, bytes: 0, held_up: false });
        let taken = now.saturating_duration_since(round.since);
        if round.bytes >= ROUND_BYTES || (taken >= ROUND && round.bytes > 0) {
            let rate = round.bytes as f64 / taken.as_secs_f64().max(f64::MIN_POSITIVE);
            let waited = round.held_up;
            self.round = Some(Round { since: now, bytes: 0, held_up: false });
            self.decide(rate, waited);
        }
        if let Some(round) = &mut self.round {
            round.bytes += bytes;
            round.held_up |= held_up;
        }
        self.deflate
    }

    fn decide(&mut self, rate: f64, waited: bool) {
        *(if self.deflate { &mut self.deflated } else { &mut self.plain }) = Some(rate);
        self.settled += 1;
        self.deflate = match (self.plain, self.deflated) {
            _ if !waited && !self.deflate => false,
            _ if self.settled >= PATIENCE => {
                self.settled = 0;
                !self.deflate
            }
            (Some(plain), Some(deflated)) => deflated > plain * WORTH,
            (_, None) => true,
            (None, _) => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 512 << 10;

    /// Sends this many blocks where a plain and a deflated one take these microseconds; answers with how many were deflated.
    fn send(pace: &mut Pace, blocks: u32, plain: u64, deflated: u64, held_up: bool) -> u32 {
        let mut now = Instant::now();
        let mut count = 0;
        pace.begin();
        for _ in 0..blocks {
            let deflate = pace.deflate(BLOCK, held_up, now);
            count += u32::from(deflate);
            now += Duration::from_micros(if deflate { deflated } else { plain });
        }
        count
    }

    #[test]
    fn the_faster_way_is_kept() {
        // A network of 10 MB/s, then processors that are busy.
        assert!(send(&mut Pace::default(), 1000, 50_000, 20_000, true) > 800);
        assert!(send(&mut Pace::default(), 2000, 5_000, 15_000, true) < 300);
        // Both wait for something else.
        assert!(send(&mut Pace::default(), 2000, 20_000, 18_000, true) < 300);
    }

    #[test]
    fn what_waits_for_the_disk_is_not_compressed() {
        assert_eq!(send(&mut Pace::default(), 1000, 5_000, 5_000, false), 0);
    }

    #[test]
    fn a_network_that_changes_is_noticed() {
        let mut pace = Pace::default();
        send(&mut pace, 1000, 5_000, 15_000, true);
        assert!(send(&mut pace, 4000, 50_000, 20_000, true) > 3000);
        assert!(send(&mut pace, 4000, 5_000, 15_000, true) < 1000);
    }

    #[test]
    fn time_between_transfers_is_not_measured() {
        let mut pace = Pace::default();
        let start = Instant::now();
        pace.deflate(ROUND_BYTES, true, start);
        pace.begin();
        assert!(!pace.deflate(BLOCK, true, start + Duration::from_secs(60)));
        assert!(pace.plain.is_none());
    }
}
