//! Whether a certificate has to be issued (again), and why.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use kubezt_model::Lifetime;
use kubezt_model::desired::{AuthorityKind, LeafSpec};
use serde::Serialize;

use crate::authority::verify_intermediate;
use crate::inspect::{CertificateChain, CertificateInfo};
use crate::key::PublicKey;
use crate::leaf::usage_names;
use crate::verify::verify_issued_by;

/// When a certificate is renewed for its own life. Everybody follows one policy: whoever looks from outside finds due what the node
/// itself would renew, at the same second. A leaf that lives longer than leaves may by now is due before ([`Reason::Long`]).
///
/// It is due once a third of its life is left, or a little later: how much is drawn from its fingerprint, so that certificates that
/// were issued together are not renewed together, and everybody who looks draws the same. It never waits until less than
/// [`LEAST`] is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    due: Timestamp,
}

/// What is left at least when a certificate is renewed. Clients read theirs again every five minutes (client-go,
/// `transport/cert_rotation.go`), and must find the next one while the last one is still good.
pub const LEAST: Duration = Duration::from_secs(6 * 60);

/// A leaf of 30 days has ten days in which renewal may fail unnoticed.
const THIRD: i64 = 3;

/// The part of that third over which renewals are spread: a tenth.
const SPREAD: i64 = 10;

impl Renewal {
    /// When a certificate with this validity is renewed; `draw` is any number that stays with the certificate.
    pub fn of(not_before: Timestamp, not_after: Timestamp, draw: u32) -> Self {
        let third = not_after.as_second().saturating_sub(not_before.as_second()) / THIRD;
        // At most 2^31 for a draw times seconds of millennia: far below 2^63.
        let wait = (third / SPREAD).saturating_mul(i64::from(draw)) / i64::from(u32::MAX);
        let left = third.saturating_sub(wait).max(i64::try_from(LEAST.as_secs()).unwrap_or(i64::MAX));
        let due = Timestamp::from_second(not_after.as_second().saturating_sub(left)).unwrap_or(not_before);
        Self { due }
    }

    /// The first moment at which it is renewed.
    pub const fn due(self) -> Timestamp {
        self.due
    }
}

/// Why a certificate has to be issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// There is none.
    Missing,
    /// It belongs to another key than the one on disk.
    Key,
    /// Common name or organizations differ.
    Subject {
        /// What it says.
        found: String,
        /// What it should say.
        wanted: String,
    },
    /// The subject alternative names differ.
    Names {
        /// Names it should have and has not.
        missing: Vec<String>,
        /// Names it has and should not have.
        surplus: Vec<String>,
    },
    /// It allows other uses than it should.
    Usage {
        /// What it allows.
        found: Vec<String>,
        /// What it should allow.
        wanted: Vec<String>,
    },
    /// Another authority signed it.
    Issuer {
        /// Common name of the authority that should have.
        wanted: String,
    },
    /// The file carries another intermediate than the present one.
    Chain,
    /// Its validity has not begun.
    NotYetValid {
        /// Start.
        from: Timestamp,
    },
    /// It has expired.
    Expired {
        /// End.
        at: Timestamp,
    },
    /// So little of its life is left that it is time.
    Due {
        /// End.
        ends: Timestamp,
    },
    /// It lives longer than leaves may by now: the setting was lowered since it was issued.
    Long {
        /// The setting.
        allowed: Lifetime,
    },
}

impl Reason {
    /// Whether nothing but time is the reason: the same leaf, signed again, is all that is needed.
    pub const fn is_time(&self) -> bool {
        matches!(self, Self::NotYetValid { .. } | Self::Expired { .. } | Self::Due { .. } | Self::Long { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => formatter.write_str("there is no certificate"),
            Self::Key => formatter.write_str("it belongs to another key than the one beside it"),
            Self::Subject { found, wanted } => write!(formatter, "its subject is `{found}`, not `{wanted}`"),
            Self::Names { missing, surplus } => {
                formatter.write_str("its names differ:")?;
                missing.iter().try_for_each(|name| write!(formatter, " +{name}"))?;
                surplus.iter().try_for_each(|name| write!(formatter, " -{name}"))
            }
            Self::Usage { found, wanted } => {
                write!(formatter, "it is for {}, not for {}", list(found), list(wanted))
            }
            Self::Issuer { wanted } => {
                write!(formatter, "it was not signed by the present `{wanted}` authority")
            }
            Self::Chain => formatter.write_str("it is not followed by the present intermediate"),
            Self::NotYetValid { from } => write!(formatter, "it is not valid before {from}"),
            Self::Expired { at } => write!(formatter, "it expired at {at}"),
            Self::Due { ends } => write!(formatter, "it ends at {ends} and is due for renewal"),
            Self::Long { allowed } => write!(formatter, "it lives longer than {allowed}, which leaves may"),
        }
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}

/// Whether a leaf has to be signed (again), and the first reason for it.
///
/// `existing` is the chain in the file, none where the file is absent or cannot be read; `key` is the public half of
/// the key beside it. A leaf that was clipped to the end of its intermediate is not renewed before that intermediate
/// is: signing it again would gain nothing, and it would be due again at once.
///
/// `lifetime` is what leaves may live by now. One that lives longer is due whatever is left of it; one that lives shorter waits
/// for its time, since signing it again would make nothing safer ([`Lifetime::is_exceeded`]).
pub fn needs_issue(
    existing: Option<&CertificateChain>,
    leaf: &LeafSpec,
    intermediate: &CertificateInfo,
    key: &PublicKey,
    lifetime: Lifetime,
    now: Timestamp,
) -> Option<Reason> {
    let Some(chain) = existing else { return Some(Reason::Missing) };
    let found = chain.first();
    if found.public_key_digest != key.digest() {
        return Some(Reason::Key);
    }
    content(found, leaf)
        .or_else(|| {
            verify_issued_by(found, intermediate)
                .is_err()
                .then(|| Reason::Issuer { wanted: intermediate.common_name.clone() })
        })
        .or_else(|| {
            let follows =
                chain.as_slice().get(1).is_some_and(|next| next.fingerprint == intermediate.fingerprint);
            (!follows || chain.len() != 2).then_some(Reason::Chain)
        })
        .or_else(|| time(found, intermediate.not_after, now))
        .or_else(|| {
            lifetime
                .is_exceeded(found.not_before, found.not_after)
                .then_some(Reason::Long { allowed: lifetime })
        })
}

/// As [`needs_issue`], where any of these intermediates may have signed: one of every control-plane node. Without any, the leaf
/// is missing its authority, which is no reason to issue it.
pub fn needs_issue_by_any<'a>(
    existing: Option<&CertificateChain>,
    leaf: &LeafSpec,
    intermediates: impl IntoIterator<Item = &'a CertificateInfo>,
    key: &PublicKey,
    lifetime: Lifetime,
    now: Timestamp,
) -> Option<Reason> {
    let mut first = None;
    for intermediate in intermediates {
        let reason = needs_issue(existing, leaf, intermediate, key, lifetime, now)?;
        // The one that signed knows best: the others only say that they did not.
        if first.is_none() || matches!(first, Some(Reason::Issuer { .. })) {
            first = Some(reason);
        }
    }
    first
}

/// Whether an intermediate has to be signed (again) by the root, and the first reason for it. See [`needs_issue`].
pub fn intermediate_needs_issue(
    existing: Option<&CertificateChain>,
    kind: AuthorityKind,
    root: &CertificateInfo,
    key: &PublicKey,
    now: Timestamp,
) -> Option<Reason> {
    let Some(chain) = existing else { return Some(Reason::Missing) };
    let found = chain.first();
    if found.public_key_digest != key.digest() {
        return Some(Reason::Key);
    }
    if found.common_name != kind.as_str() || found.organizations != [root.common_name.clone()] {
        return Some(Reason::Subject {
            found: subject(&found.common_name, &found.organizations),
            wanted: subject(kind.as_str(), std::slice::from_ref(&root.common_name)),
        });
    }
    if verify_intermediate(found, kind, root).is_err() {
        return Some(Reason::Issuer { wanted: root.common_name.clone() });
    }
    time(found, root.not_after, now)
}

fn content(found: &CertificateInfo, leaf: &LeafSpec) -> Option<Reason> {
    let groups = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
    if found.common_name != leaf.common_name || groups(&found.organizations) != groups(&leaf.organizations) {
        return Some(Reason::Subject {
            found: subject(&found.common_name, &found.organizations),
            wanted: subject(&leaf.common_name, &leaf.organizations),
        });
    }
    let has: BTreeSet<String> = (found.dns_names.iter().cloned())
        .chain(found.ip_addresses.iter().map(ToString::to_string))
        .chain(found.other_names.iter().cloned())
        .collect();
    let wants: BTreeSet<String> =
        leaf.dns_names.iter().cloned().chain(leaf.ip_addresses.iter().map(ToString::to_string)).collect();
    if has != wants {
        return Some(Reason::Names {
            missing: wants.difference(&has).cloned().collect(),
            surplus: has.difference(&wants).cloned().collect(),
        });
    }
    let wanted: Vec<String> =
        ["digitalSignature"].iter().chain(usage_names(leaf.usage)).map(|name| (*name).to_owned()).collect();
    let mut allows: Vec<String> = found.key_usages.iter().chain(&found.extended_usages).cloned().collect();
    if found.is_ca {
        allows.insert(0, "authority".to_owned());
    }
    (allows != wanted).then_some(Reason::Usage { found: allows, wanted })
}

fn subject(common_name: &str, organizations: &[String]) -> String {
    let mut text = format!("CN={common_name}");
    for organization in organizations {
        text.push_str(",O=");
        text.push_str(organization);
    }
    text
}

fn time(found: &CertificateInfo, issuer_ends: Timestamp, now: Timestamp) -> Option<Reason> {
    if now > found.not_after {
        return Some(Reason::Expired { at: found.not_after });
    }
    if now < found.not_before {
        return Some(Reason::NotYetValid { from: found.not_before });
    }
    let could_live_longer = found.not_after < issuer_ends;
    (could_live_longer && now >= found.renewal().due()).then_some(Reason::Due { ends: found.not_after })
}

#[cfg(test)]
mod tests {
    use kubezt_model::desired::Usage;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::{Authority, DAY, client, now, public_key, server};
    use crate::{generate, issue_intermediate, new_root, spki_of};

    const LIFE: std::time::Duration = std::time::Duration::from_secs(720 * 3600);

    /// Longer than any certificate lives here: what is not about it is not disturbed by it.
    const ANY: Lifetime = Lifetime::from_seconds(5000 * 86_400);

    fn ask(
        chain: Option<&CertificateChain>,
        leaf: &LeafSpec,
        authority: &Authority,
        key: &PublicKey,
        now: Timestamp,
    ) -> Option<Reason> {
        needs_issue(chain, leaf, authority.chain.first(), key, ANY, now)
    }

    #[test]
    fn a_fresh_leaf_is_left_alone_until_it_is_due() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let chain = authority.sign(&server(), &key, now(), LIFE).unwrap();
        let end = chain.first().not_after;
        let due = chain.first().renewal().due();
        let second = std::time::Duration::from_secs(1);
        for (time, wanted) in [
            (now(), None),
            (now() - Lifetime::BACKDATE, None),
            (now() - DAY, Some(Reason::NotYetValid { from: chain.first().not_before })),
            (due - second, None),
            (due, Some(Reason::Due { ends: end })),
            (end, Some(Reason::Due { ends: end })),
            (end + second, Some(Reason::Expired { at: end })),
            (end + 3000 * DAY, Some(Reason::Expired { at: end })),
        ] {
            assert_eq!(ask(Some(&chain), &server(), &authority, &key, time), wanted, "{time}");
        }
    }

    proptest! {
        #[test]
        fn renewal_is_never_before_a_third_is_left_and_never_after_six_minutes_are(
            life in 15_u64 * 60..4000 * 86_400,
            draw in any::<u32>(),
        ) {
            let (from, until) = (now(), now() + Duration::from_secs(life));
            let left = until.duration_since(Renewal::of(from, until, draw).due());
            let third = i64::try_from(life / 3).unwrap();
            let least = i64::try_from(LEAST.as_secs()).unwrap();
            prop_assert!(left.as_secs() >= least);
            prop_assert!(left.as_secs() <= third.max(least));
            // The draw delays by a tenth of the third at most.
            prop_assert!(left.as_secs() >= third - third / 10 - 1);
        }

        #[test]
        fn whoever_looks_every_minute_never_lets_a_leaf_expire_and_never_renews_early(
            life in 15_u64 * 60..3 * 86_400,
            late in 0_u64..120,
            start in 0_u64..60,
        ) {
            let authority = Authority::new(AuthorityKind::Kubernetes);
            let key = public_key();
            let lifetime = Duration::from_secs(life);
            let mut chain = authority.sign(&client(), &key, now(), lifetime).unwrap();
            let mut time = now() + Duration::from_secs(start);
            for _ in 0..4 {
                let due = chain.first().renewal().due();
                let minutes = (due.duration_since(time).as_secs() + 59) / 60;
                let look = time + jiff::SignedDuration::from_mins(minutes);
                let before = look - Duration::from_secs(60);
                prop_assert_eq!(ask(Some(&chain), &client(), &authority, &key, before), None);
                let reason = ask(Some(&chain), &client(), &authority, &key, look);
                prop_assert_eq!(reason, Some(Reason::Due { ends: chain.first().not_after }));
                // Whoever has to ask somebody gets the next one that much later.
                time = look + Duration::from_secs(late);
                prop_assert!(chain.first().not_after.duration_since(time).as_secs() > 60);
                chain = authority.sign(&client(), &key, time, lifetime).unwrap();
            }
        }

        #[test]
        fn what_was_signed_for_the_present_setting_never_lives_too_long(
            seconds in 1_u64..500 * 86_400,
            after in 0_u64..364 * 86_400,
            nanoseconds in 0_u32..1_000_000_000,
        ) {
            let authority = Authority::new(AuthorityKind::Kubernetes);
            let key = public_key();
            let lifetime = Lifetime::from_seconds(seconds);
            let time = now() + Duration::new(after, nanoseconds);
            let chain = authority.sign(&client(), &key, time, lifetime.duration()).unwrap();
            let long = needs_issue(Some(&chain), &client(), authority.chain.first(), &key, lifetime, time)
                .is_some_and(|reason| matches!(reason, Reason::Long { .. }));
            prop_assert!(!long);
        }

        #[test]
        fn after_any_jump_of_the_clock_one_look_at_the_right_time_is_enough(jump in -300_i64 * 86_400..300 * 86_400) {
            let authority = Authority::new(AuthorityKind::Kubernetes);
            let key = public_key();
            let lifetime = Duration::from_secs(86_400);
            // A third of a year after the authority was made, so that the clock can be wrong in both directions.
            let right = now() + 120 * DAY;
            let mut chain = authority.sign(&client(), &key, right, lifetime).unwrap();
            for time in [right + jiff::SignedDuration::from_secs(jump), right] {
                if ask(Some(&chain), &client(), &authority, &key, time).is_some() {
                    // Where the authority is not valid at that time either, nothing is signed, and nothing lost.
                    chain = authority.sign(&client(), &key, time, lifetime).unwrap_or(chain);
                }
            }
            prop_assert!(chain.first().is_valid_at(right));
        }
    }

    #[test]
    fn any_of_several_authorities_may_have_signed() {
        let (one, other) = (Authority::new(AuthorityKind::Etcd), Authority::new(AuthorityKind::Etcd));
        let key = public_key();
        let leaf = LeafSpec { authority: AuthorityKind::Etcd, ..client() };
        let chain = one.sign(&leaf, &key, now(), LIFE).unwrap();
        let both = [other.chain.first(), one.chain.first()];
        let ask = |authorities: &[&CertificateInfo], time| {
            needs_issue_by_any(Some(&chain), &leaf, authorities.iter().copied(), &key, ANY, time)
        };
        assert_eq!(ask(&both, now()), None);
        let late = ask(&both, chain.first().not_after).unwrap();
        assert!(matches!(late, Reason::Due { .. }) && late.is_time(), "{late}");
        let foreign = ask(&both[..1], now()).unwrap();
        assert!(matches!(foreign, Reason::Issuer { .. }) && !foreign.is_time(), "{foreign}");
        assert_eq!(ask(&[], now()), None);
    }

    #[test]
    fn every_difference_has_its_reason() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let chain = authority.sign(&server(), &key, now(), LIFE).unwrap();
        let change = |change: fn(&mut LeafSpec)| {
            let mut leaf = server();
            change(&mut leaf);
            leaf
        };
        for (leaf, words) in [
            (
                change(|leaf| leaf.common_name = "other".into()),
                "its subject is `CN=kube-apiserver`, not `CN=other`",
            ),
            (change(|leaf| leaf.organizations = vec!["g".into()]), "not `CN=kube-apiserver,O=g`"),
            (change(|leaf| leaf.dns_names.push("new".into())), "its names differ: +new"),
            (
                change(|leaf| leaf.dns_names.retain(|name| name != "kubernetes")),
                "its names differ: -kubernetes",
            ),
            (change(|leaf| leaf.ip_addresses[0] = "127.0.0.2".parse().unwrap()), "+127.0.0.2 -127.0.0.1"),
            (
                change(|leaf| leaf.usage = Usage::Client),
                "it is for digitalSignature, serverAuth, not for digitalSignature, clientAuth",
            ),
            (
                change(|leaf| leaf.usage = Usage::ServerAndClient),
                "not for digitalSignature, clientAuth, serverAuth",
            ),
        ] {
            let reason = ask(Some(&chain), &leaf, &authority, &key, now()).unwrap().to_string();
            assert!(reason.contains(words), "{reason}");
        }
        // Order and repetition of names mean nothing.
        let same = change(|leaf| leaf.dns_names.reverse());
        assert_eq!(ask(Some(&chain), &same, &authority, &key, now()), None);
        assert_eq!(ask(None, &server(), &authority, &key, now()), Some(Reason::Missing));
        assert_eq!(ask(Some(&chain), &server(), &authority, &public_key(), now()), Some(Reason::Key));
    }

    #[test]
    fn another_authority_or_chain_is_noticed() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let chain = authority.sign(&server(), &key, now(), LIFE).unwrap();
        let other = Authority::new(AuthorityKind::Kubernetes);
        assert_eq!(
            ask(Some(&chain), &server(), &other, &key, now()),
            Some(Reason::Issuer { wanted: "kubernetes".into() })
        );
        let alone = CertificateChain::parse(&chain.first().to_pem()).unwrap();
        assert_eq!(ask(Some(&alone), &server(), &authority, &key, now()), Some(Reason::Chain));
        // The intermediate was renewed with its key: the leaf still verifies, but carries the old one.
        let renewed = issue_intermediate(
            &authority.root,
            AuthorityKind::Kubernetes,
            &spki_of(&authority.key).unwrap(),
            now() + DAY,
            365 * DAY,
        )
        .unwrap();
        let authority = Authority { chain: renewed, ..authority };
        assert_eq!(ask(Some(&chain), &server(), &authority, &key, now() + DAY), Some(Reason::Chain));
    }

    #[test]
    fn a_clipped_leaf_waits_for_its_intermediate_and_signing_always_satisfies() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let end = authority.chain.first().not_after;
        for before in [1, 10, 3600, 9 * 86400, 11 * 86400, 31 * 86400, 300 * 86400] {
            let time = end - std::time::Duration::from_secs(before);
            let chain = authority.sign(&client(), &key, time, LIFE).unwrap();
            assert_eq!(ask(Some(&chain), &client(), &authority, &key, time), None, "{before}");
            let near = end - std::time::Duration::from_secs(1);
            let clipped = chain.first().not_after == end;
            assert_eq!(ask(Some(&chain), &client(), &authority, &key, near).is_none(), clipped, "{before}");
        }
    }

    #[test]
    fn a_leaf_that_lives_longer_than_leaves_may_by_now_is_due_and_a_shorter_one_is_not() {
        let authority = Authority::new(AuthorityKind::Kubernetes);
        let key = public_key();
        let [day, month] = [24, 720].map(|hours| Lifetime::from_seconds(hours * 3600));
        let ask = |chain: &CertificateChain, lifetime, time| {
            needs_issue(Some(chain), &client(), authority.chain.first(), &key, lifetime, time)
        };
        let sign = |lifetime: Lifetime| authority.sign(&client(), &key, now(), lifetime.duration()).unwrap();
        assert_eq!(ask(&sign(month), month, now()), None);
        let reason = ask(&sign(month), day, now()).unwrap();
        assert_eq!(reason.to_string(), "it lives longer than 24h, which leaves may");
        assert!(reason.is_time(), "a node mends it by itself");
        assert_eq!(ask(&sign(day), day, now()), None);
        assert_eq!(ask(&sign(day), month, now()), None);
        // One that ends with its intermediate is not renewed in its time, and is nevertheless where it lives too long.
        let clipped = sign(Lifetime::from_seconds(5000 * 86_400));
        let near = authority.chain.first().not_after - DAY;
        assert_eq!(ask(&clipped, Lifetime::from_seconds(5000 * 86_400), near), None);
        assert_eq!(ask(&clipped, month, near), Some(Reason::Long { allowed: month }));
    }

    #[test]
    fn intermediates_follow_the_same_rules() {
        let root = new_root("kubezt first", now(), 10).unwrap();
        let key = spki_of(&generate().unwrap()).unwrap();
        let kind = AuthorityKind::Etcd;
        let chain = issue_intermediate(&root, kind, &key, now(), 365 * DAY).unwrap();
        let ask = |chain: Option<&CertificateChain>, kind, root: &CertificateInfo, key: &PublicKey, now| {
            intermediate_needs_issue(chain, kind, root, key, now)
        };
        assert_eq!(ask(Some(&chain), kind, root.info(), &key, now()), None);
        assert_eq!(ask(None, kind, root.info(), &key, now()), Some(Reason::Missing));
        assert_eq!(ask(Some(&chain), kind, root.info(), &public_key(), now()), Some(Reason::Key));
        let subject =
            ask(Some(&chain), AuthorityKind::FrontProxy, root.info(), &key, now()).unwrap().to_string();
        assert_eq!(subject, "its subject is `CN=etcd,O=kubezt first`, not `CN=front-proxy,O=kubezt first`");
        let other = new_root("kubezt first", now(), 10).unwrap();
        assert!(matches!(ask(Some(&chain), kind, other.info(), &key, now()), Some(Reason::Issuer { .. })));
        assert_eq!(ask(Some(&chain), kind, root.info(), &key, now() + 240 * DAY), None);
        let end = chain.first().not_after;
        assert_eq!(
            ask(Some(&chain), kind, root.info(), &key, now() + 260 * DAY),
            Some(Reason::Due { ends: end })
        );
        assert_eq!(
            ask(Some(&chain), kind, root.info(), &key, now() + 366 * DAY),
            Some(Reason::Expired { at: end })
        );
    }
}
