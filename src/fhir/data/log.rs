//! What was written, a line each, so that it is there after a restart. The file only grows until a reset empties it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Edit, Kept};
use crate::fhir::FhirError;
use crate::fhir::resource::{Creator, Key, Resource};
use crate::protocol::ids::FhirBase;
use crate::time::UnixTime;

#[derive(Debug)]
pub struct Log {
    file: File,
    /// Where the last whole line ends.
    end: u64,
    sync: bool,
}

impl Log {
    /// Opens the file, makes it where there is none, and reads what it holds. What a crash left unfinished at its end was never answered
    /// and is cut off: a line without its end, or, where the power went, lines of whatever the disk held.
    ///
    /// # Errors
    /// [`FhirError::Data`]: it cannot be opened, or a line that is no write has writes behind it, or stands in a file without any.
    pub fn open(kept: &Kept, base: &FhirBase) -> Result<(Self, Vec<Edit>), FhirError> {
        let file = kept.path.display().to_string();
        let failed = |why: String| FhirError::Data { file: file.clone(), why };
        let io = |why: std::io::Error| failed(why.to_string());
        let folder = kept.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).map_err(io)?;
        // Records of patients, if only synthetic ones: nobody else on the machine reads along.
        let mut opened = OpenOptions::new().read(true).write(true).create(true).mode(0o600).truncate(kept.fresh).open(&kept.path).map_err(io)?;
        if kept.sync {
            // A file is only as safe as its name.
            opened.sync_all().and_then(|()| File::open(folder)?.sync_all()).map_err(io)?;
        }
        let mut bytes = Vec::new();
        opened.read_to_end(&mut bytes).map_err(io)?;
        let (mut edits, mut end, mut torn, mut goes_on) = (Vec::new(), 0, None, false);
        for (number, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
            match line.strip_suffix(b"\n").and_then(|line| read(line, base)) {
                Some(edit) if torn.is_none() => {
                    edits.push(edit);
                    end += line.len();
                }
                Some(_) => goes_on = true,
                None => _ = torn.get_or_insert(number + 1),
            }
        }
        match torn {
            Some(line) if goes_on || (edits.is_empty() && bytes.contains(&b'\n')) => {
                return Err(FhirError::Data { file: format!("{file}:{line}"), why: "this line is not a write".to_owned() });
            }
            Some(line) => tracing::warn!(file, line, bytes = bytes.len() - end, "what a crash left unfinished is cut off"),
            None => {}
        }
        let mut log = Self { file: opened, end: end as u64, sync: kept.sync };
        log.cut().map_err(io)?;
        Ok((log, edits))
    }

    /// One that nothing can be written to.
    #[cfg(test)]
    pub fn deaf(path: &Path) -> std::io::Result<Self> {
        Ok(Self { file: File::open(path)?, end: 0, sync: true })
    }

    /// Writes whole lines and, where asked to, waits for the disk. Nothing of them is left where it fails.
    pub fn append(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        // What an attempt before could not take back must not stand before these.
        self.cut()?;
        let written = self.file.write_all(lines).and_then(|()| if self.sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => self.end += lines.len() as u64,
            Err(_) => self.cut()?,
        }
        written
    }

    /// Everything is forgotten.
    pub fn clear(&mut self) -> std::io::Result<()> {
        let end = std::mem::take(&mut self.end);
        let cleared = self.cut().and_then(|()| if self.sync { self.file.sync_data() } else { Ok(()) });
        if cleared.is_err() && self.file.metadata().is_ok_and(|told| told.len() >= end) {
            self.end = end;
        }
        cleared
    }

    /// Takes off what stands behind the last whole line.
    fn cut(&mut self) -> std::io::Result<()> {
        if self.file.metadata()?.len() != self.end {
            self.file.set_len(self.end)?;
        }
        self.file.seek(SeekFrom::Start(self.end)).map(drop)
    }
}

/// A write as it is kept, with the end of its line.
pub fn line(edit: &Edit) -> Vec<u8> {
    match edit {
        Edit::Put(resource) => {
            let creator = resource.creator.as_ref().map(|creator| format!(r#","creator":{}"#, json!(creator))).unwrap_or_default();
            [br#"{"put":"#, &resource.json[..], creator.as_bytes(), b"}\n"].concat()
        }
        Edit::Delete { key, version, at } => {
            format!("{}\n", json!({"delete": format!("{}/{}", key.kind, key.id), "version": version, "at": at.0})).into_bytes()
        }
    }
}

fn read(line: &[u8], base: &FhirBase) -> Option<Edit> {
    let mut line: Value = serde_json::from_slice(line).ok()?;
    if let Some(body) = line.get_mut("put").map(Value::take) {
        let mut resource = Resource::new(base, body).ok()?;
        resource.creator = line.get_mut("creator").map(Value::take).map(serde_json::from_value::<Creator>).transpose().ok()?;
        return Some(Edit::Put(Arc::new(resource)));
    }
    let key = Key::of_reference(base, line.get("delete")?.as_str()?)?;
    Some(Edit::Delete { key, version: line.get("version")?.as_u64()?, at: UnixTime(line.get("at")?.as_i64()?) })
}
