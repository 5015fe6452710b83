//! PEM (RFC 7468), read and written in buffers that are wiped, because keys travel in it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::PkiError;

/// Longest text that is read; the largest chain kubezt makes has a few KiB.
const LONGEST: usize = 1 << 20;
const LINE: usize = 64;

/// One block.
pub(crate) struct Block<'text> {
    pub(crate) label: &'text str,
    pub(crate) der: Zeroizing<Vec<u8>>,
}

/// All blocks, in order; text between them is explanation (RFC 7468, 5.2) and passed over.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block<'_>>, PkiError> {
    if text.len() > LONGEST {
        return Err(PkiError::Pem("longer than 1 MiB"));
    }
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = marker(line, "-----BEGIN ") else {
            if marker(line, "-----END ").is_some() {
                return Err(PkiError::Pem("a block ends that did not begin"));
            }
            continue;
        };
        let mut body = Zeroizing::new(String::with_capacity(text.len()));
        loop {
            let line = lines.next().ok_or(PkiError::Pem("a block has no end"))?;
            if let Some(end) = marker(line, "-----END ") {
                if end != label {
                    return Err(PkiError::Pem("a block ends with another label than it began with"));
                }
                break;
            }
            if line.contains(':') {
                return Err(PkiError::Pem("a block has headers, as encrypted keys of old do"));
            }
            body.push_str(line);
        }
        let der = STANDARD.decode(body.as_bytes()).map_err(|_| PkiError::Pem("a block is not base64"))?;
        found.push(Block { label, der: Zeroizing::new(der) });
    }
    if found.is_empty() {
        return Err(PkiError::Pem("no `-----BEGIN` line"));
    }
    Ok(found)
}

fn marker<'line>(line: &'line str, start: &str) -> Option<&'line str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

/// One block as text, with a newline at its end.
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Reserved at once, so that growing leaves no copy of a key behind.
    let mut text =
        Zeroizing::new(String::with_capacity(body.len() + body.len() / LINE + 2 * label.len() + 48));
    for part in ["-----BEGIN ", label, "-----\n"] {
        text.push_str(part);
    }
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    for part in ["-----END ", label, "-----\n"] {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(first in prop::collection::vec(any::<u8>(), 0..300), second in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = format!("explanation\n{}\nmore\n{}", *encode("FIRST ONE", &first), *encode("SECOND", &second));
            let read = blocks(&text).unwrap();
            prop_assert_eq!(read.len(), 2);
            prop_assert_eq!((read[0].label, &*read[0].der), ("FIRST ONE", &first));
            prop_assert_eq!((read[1].label, &*read[1].der), ("SECOND", &second));
        }

        #[test]
        fn nothing_read_is_taken_for_granted(text in "(-----BEGIN A-----\n)?[ -~\n]{0,80}(-----END [AB]-----)?") {
            let _ = blocks(&text);
        }
    }

    #[test]
    fn capacity_was_enough() {
        for length in [0, 1, 47, 48, 49, 121, 185, 1000] {
            let body = STANDARD.encode(vec![7; length]).len();
            let text = encode("PRIVATE KEY", &vec![7; length]);
            assert!(text.len() <= body + body / LINE + 2 * "PRIVATE KEY".len() + 48, "{length}");
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        for text in [
            "",
            "nothing",
            "-----BEGIN A-----\nAAAA\n",
            "-----BEGIN A-----\nAAAA\n-----END B-----\n",
            "-----END A-----\n",
            "-----BEGIN A-----\nA!\n-----END A-----\n",
            "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----\n",
        ] {
            assert!(matches!(blocks(text), Err(PkiError::Pem(_))), "{text}");
        }
    }
}
