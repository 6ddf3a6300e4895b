//! What was written, a line each, so that it is there after a restart. The file only grows until a reset empties it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
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
    /// Opens the file, makes it where there is none, and reads what it holds. A last line without its end was never answered and is
    /// cut off.
    ///
    /// # Errors
    /// [`FhirError::Data`]
    pub fn open(kept: &Kept, base: &FhirBase) -> Result<(Self, Vec<Edit>), FhirError> {
        let failed = |why: String| FhirError::Data { file: kept.path.display().to_string(), why };
        if let Some(folder) = kept.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|why| failed(why.to_string()))?;
        }
        // Records of patients, if only synthetic ones: nobody else on the machine reads along.
        let opened = OpenOptions::new().read(true).write(true).create(true).mode(0o600).truncate(kept.fresh).open(&kept.path);
        let mut file = opened.map_err(|why| failed(why.to_string()))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|why| failed(why.to_string()))?;
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |place| place + 1);
        let mut edits = Vec::new();
        for (number, line) in bytes.get(..whole).unwrap_or_default().split(|b| *b == b'\n').enumerate().filter(|(_, line)| !line.is_empty()) {
            edits.push(read(line, base).ok_or_else(|| failed(format!("line {} is not a write", number + 1)))?);
        }
        let end = whole as u64;
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(|why| failed(why.to_string()))?;
        Ok((Self { file, end, sync: kept.sync }, edits))
    }

    pub fn add(&mut self, edit: &Edit) -> std::io::Result<()> {
        let line = match edit {
            Edit::Put(resource) => {
                let creator = resource.creator.as_ref().map(|creator| format!(r#","creator":{}"#, json!(creator))).unwrap_or_default();
                let mut line = br#"{"put":"#.to_vec();
                line.extend_from_slice(&resource.json);
                line.extend_from_slice(creator.as_bytes());
                line.extend_from_slice(b"}\n");
                line
            }
            Edit::Delete { key, version, at } => {
                format!("{}\n", json!({"delete": format!("{}/{}", key.kind, key.id), "version": version, "at": at.0})).into_bytes()
            }
        };
        let written = self.file.write_all(&line).and_then(|()| if self.sync { self.file.sync_data() } else { Ok(()) });
        match written {
            Ok(()) => {
                self.end += line.len() as u64;
                Ok(())
            }
            Err(why) => {
                // Half a line must not stand before the next one.
                self.file.set_len(self.end).and_then(|()| self.file.seek(SeekFrom::Start(self.end)))?;
                Err(why)
            }
        }
    }

    pub fn clear(&mut self) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.end = 0;
        if self.sync { self.file.sync_data() } else { Ok(()) }
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
