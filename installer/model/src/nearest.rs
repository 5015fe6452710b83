//! The valid name nearest to a mistyped one.

/// Longer texts are no slip of the finger, and comparing them would take its time.
const LONGEST: usize = 256;

/// The candidate with the smallest edit distance, when it is near enough to be a likely slip (a third of the length).
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if wrong.len() > LONGEST {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(wrong, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= 1 + wrong.len().max(candidate.len()) / 3)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance over characters, ignoring case.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, a) in left.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_likely_slip_and_nothing_far_away() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(nearest("apiSever", ["apiServer", "etcd"]), Some("apiServer"));
        assert_eq!(nearest("zzzz", ["apiServer", "etcd"]), None);
    }
}
