//! The record of one request in an audit log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value;

use crate::node::{NodeError, NodeRoot, files};

/// Bytes at the end of the log that are searched: a record that was just written is among them.
const TAIL: u64 = 32 << 20;

/// The last record with this audit id (`ResponseComplete` where the request has ended); `None` where the log or the record is
/// not there.
///
/// # Errors
/// [`NodeError::File`].
pub fn record(root: &NodeRoot, name: &str, audit_id: &str) -> Result<Option<Value>, NodeError> {
    let path = root.path(name)?;
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if files::is_absent(&error) => return Ok(None),
        Err(error) => return Err(NodeError::file("read", &path)(error)),
    };
    let mut tail = Vec::new();
    file.metadata()
        .and_then(|metadata| file.seek(SeekFrom::Start(metadata.len().saturating_sub(TAIL))))
        .and_then(|_| file.take(TAIL).read_to_end(&mut tail))
        .map_err(NodeError::file("read", &path))?;
    Ok(find(&tail, audit_id))
}

fn find(tail: &[u8], audit_id: &str) -> Option<Value> {
    tail.rsplit(|byte| *byte == b'\n')
        // Cheap first: a record is only parsed where the id occurs in it at all.
        .filter(|line| contains(line, audit_id.as_bytes()))
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .find(|record| record["auditID"] == audit_id)
}

fn contains(line: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && line.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_of_the_request_is_found_by_its_own_id() {
        let log = b"{\"auditID\":\"a\",\"stage\":\"RequestReceived\"}\n{\"auditID\":\"b\",\"note\":\"a\"}\n\
                    {\"auditID\":\"a\",\"stage\":\"ResponseComplete\"}\nnot JSON a\n";
        assert_eq!(find(log, "a").unwrap()["stage"], "ResponseComplete");
        assert_eq!(find(log, "c"), None);
        assert_eq!(find(log, ""), None);
    }
}
