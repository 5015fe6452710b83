//! What a check came to, and how several add up.

use kubezt_model::finding::Verdict;

/// A verdict and what it rests on.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// Verdict.
    pub verdict: Verdict,
    /// What it rests on, one line each; never a secret.
    pub evidence: Vec<String>,
}

impl Judged {
    /// It holds.
    pub fn pass(evidence: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, evidence: vec![evidence.into()] }
    }

    /// It does not hold.
    pub fn fail(wanted: impl Into<String>, got: impl Into<String>) -> Self {
        let (wanted, got) = (wanted.into(), got.into());
        Self { evidence: vec![got.clone()], verdict: Verdict::Fail { wanted, got } }
    }

    /// It could not be judged.
    pub fn error(reason: String) -> Self {
        Self { verdict: Verdict::Error { reason }, evidence: Vec::new() }
    }

    /// It does not apply.
    pub fn not_applicable(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self { evidence: vec![reason.clone()], verdict: Verdict::NotApplicable { reason } }
    }

    /// Holds or not, by a comparison that was made.
    pub fn of(holds: bool, wanted: impl Into<String>, got: impl Into<String>) -> Self {
        if holds { Self::pass(got) } else { Self::fail(wanted, got) }
    }

    /// All must hold: the worst verdict decides, several failures are told together, all evidence is kept.
    pub fn all(judged: impl IntoIterator<Item = Self>) -> Self {
        let mut sum: Option<Self> = None;
        for next in judged {
            sum = Some(match sum {
                None => next,
                Some(sum) => sum.and(next),
            });
        }
        sum.unwrap_or_else(|| Self::error("there was nothing to judge".to_owned()))
    }

    fn and(mut self, next: Self) -> Self {
        self.evidence.extend(next.evidence);
        self.verdict = match (self.verdict, next.verdict) {
            (Verdict::Fail { wanted, got }, Verdict::Fail { wanted: also, got: and }) => {
                Verdict::Fail { wanted: joined(wanted, &also), got: joined(got, &and) }
            }
            (Verdict::Error { reason }, Verdict::Error { reason: also }) => {
                Verdict::Error { reason: joined(reason, &also) }
            }
            (mine, other) if other.badness() > mine.badness() => other,
            (mine, _) => mine,
        };
        self
    }
}

fn joined(text: String, more: &str) -> String {
    if text.split("; ").any(|part| part == more) { text } else { format!("{text}; {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_decides_and_nothing_judged_is_an_error() {
        let sum = Judged::all([
            Judged::pass("a"),
            Judged::fail("x", "y"),
            Judged::fail("x", "z"),
            Judged::pass("b"),
        ]);
        assert_eq!(sum.verdict, Verdict::Fail { wanted: "x".to_owned(), got: "y; z".to_owned() });
        assert_eq!(sum.evidence.len(), 4);
        let sum = Judged::all([Judged::fail("x", "y"), Judged::error("why".to_owned())]);
        assert!(matches!(sum.verdict, Verdict::Error { .. }));
        assert!(matches!(Judged::all([]).verdict, Verdict::Error { .. }));
        let sum = Judged::all([Judged::not_applicable("n"), Judged::pass("p")]);
        assert_eq!(sum.verdict, Verdict::Pass);
    }
}
