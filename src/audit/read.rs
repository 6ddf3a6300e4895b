//! Reading a log that may be written at the same time: whole lines only.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Head;
use super::files::list;

/// `seq` of a record; nothing for the first line of a file.
pub fn seq_of(line: &str) -> Option<u64> {
    let rest = line.strip_prefix("{\"seq\":")?;
    rest.get(..rest.find(',')?)?.parse().ok()
}

/// The records after `seq`, the oldest first, at most `limit`.
///
/// # Errors
/// A directory or file that cannot be read.
pub fn after(dir: &Path, seq: u64, limit: usize) -> io::Result<Vec<String>> {
    let mut cursor = Cursor::default();
    // The newest file that begins early enough.
    for (number, path) in list(dir)?.into_iter().rev() {
        cursor.file = number;
        if first_of(&path)?.is_some_and(|first| first <= seq.saturating_add(1)) {
            break;
        }
    }
    let mut found = Vec::new();
    while found.len() < limit {
        let lines = cursor.next(dir, limit.max(256), None)?;
        if lines.is_empty() {
            break;
        }
        found.extend(lines.into_iter().filter(|line| seq_of(line).is_some_and(|at| at > seq)));
    }
    found.truncate(limit);
    Ok(found)
}

fn first_of(path: &Path) -> io::Result<Option<u64>> {
    let mut line = String::new();
    BufReader::new(File::open(path)?).read_line(&mut line)?;
    Ok(serde_json::from_str::<Value>(&line).ok().and_then(|header| header.get("first").and_then(Value::as_u64)))
}

/// A place in a log, to go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// 0 before the first file.
    pub file: u64,
    pub offset: u64,
}

impl Cursor {
    /// The next whole lines, at most `limit`, the first lines of files among them; none where there are none yet. Files that were moved away
    /// are passed over. `until`: not beyond what is known to be written.
    ///
    /// # Errors
    /// A directory or file that cannot be read.
    pub fn next(&mut self, dir: &Path, limit: usize, until: Option<&Head>) -> io::Result<Vec<String>> {
        loop {
            let files = list(dir)?;
            let Some((number, path)) = files.iter().find(|(number, _)| *number >= self.file) else { return Ok(Vec::new()) };
            if *number != self.file {
                (self.file, self.offset) = (*number, 0);
            }
            let lines = self.of(path, limit, until)?;
            // What is left must have been read to its end, and only the last file that is known to be written to says where that is.
            let newer = files.iter().find(|(other, _)| other > number).filter(|_| until.is_none_or(|head| head.file > *number));
            match (lines.is_empty(), newer) {
                // Another line may have come to this file between reading it and seeing the next: it is looked at once more.
                (true, Some((next, _))) => {
                    let late = self.of(path, limit, until)?;
                    if !late.is_empty() {
                        return Ok(late);
                    }
                    (self.file, self.offset) = (*next, 0);
                }
                _ => return Ok(lines),
            }
        }
    }

    fn of(&mut self, path: &Path, limit: usize, until: Option<&Head>) -> io::Result<Vec<String>> {
        let end = match until {
            Some(head) if head.file == self.file => head.offset,
            Some(head) if head.file < self.file => return Ok(Vec::new()),
            Some(_) | None => u64::MAX,
        };
        let mut reader = BufReader::new(File::open(path)?);
        reader.seek(SeekFrom::Start(self.offset))?;
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while lines.len() < limit && self.offset < end {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)? as u64;
            if line.pop() != Some(b'\n') {
                break;
            }
            self.offset += length;
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::file_name;
    use super::*;

    /// What is known to be written ends in a file that has since grown, and was followed by another.
    #[test]
    fn a_file_is_left_only_where_its_end_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let write = |number, text: &str| std::fs::write(dir.path().join(file_name(number)), text).unwrap();
        write(1, "{\"audit\"}\n{\"seq\":1,}\n{\"seq\":2,}\n");
        write(2, "{\"audit\"}\n{\"seq\":3,}\n");
        let head = |file, offset| Head { seq: 0, hash: String::new(), file, offset };
        let mut cursor = Cursor::default();
        let mut read = |head: &Head| cursor.next(dir.path(), 10, Some(head)).unwrap().iter().filter_map(|line| seq_of(line)).collect::<Vec<_>>();
        let early = head(1, 21);
        assert_eq!((read(&early), read(&early)), (vec![1], vec![]));
        let late = head(2, 21);
        assert_eq!((read(&late), read(&late), read(&late)), (vec![2], vec![3], vec![]));
    }
}
