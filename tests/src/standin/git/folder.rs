//! A repository as a folder that `git` can read, for those who clone.
//!
//! Objects are written as git's loose objects, uncompressed, and references as one list of packed references, which replaces
//! the old one in a single step. Nothing is ever read back: what is in memory is the truth.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::object::{ObjectId, Objects};

const CONFIG: &str = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n\
    [uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n[http]\n\treceivepack = false\n";

/// A bare repository on disk.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    written: BTreeSet<ObjectId>,
}

impl Folder {
    pub(crate) fn create(path: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(path.join("objects/info"))?;
        fs::create_dir_all(path.join("objects/pack"))?;
        fs::create_dir_all(path.join("refs/heads"))?;
        fs::create_dir_all(path.join("refs/tags"))?;
        fs::write(path.join("config"), CONFIG)?;
        Ok(Self { path, written: BTreeSet::new() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the folder up to what is known: objects first, then the references to them.
    pub(crate) fn write(
        &mut self,
        objects: &Objects,
        owned: &BTreeSet<ObjectId>,
        references: &BTreeMap<String, ObjectId>,
        head: &str,
    ) -> io::Result<()> {
        let new: Vec<ObjectId> = owned.difference(&self.written).copied().collect();
        for id in new {
            self.write_object(objects, id)?;
            self.written.insert(id);
        }
        let lines: String = references.iter().map(|(name, id)| format!("{id} {name}\n")).collect();
        replace(&self.path.join("packed-refs"), lines.as_bytes())?;
        replace(&self.path.join("HEAD"), format!("ref: refs/heads/{head}\n").as_bytes())
    }

    fn write_object(&self, objects: &Objects, id: ObjectId) -> io::Result<()> {
        let Some(object) = objects.object(id) else { return Ok(()) };
        let name = id.to_string();
        let (first, rest) = name.split_at(2);
        let folder = self.path.join("objects").join(first);
        fs::create_dir_all(&folder)?;
        let header = format!("{} {}\0", object.kind.name(), object.content.len());
        let mut plain = header.into_bytes();
        plain.extend_from_slice(&object.content);
        fs::write(folder.join(rest), stored(&plain))
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)?;
    fs::rename(new, path)
}

/// The zlib format around bytes that are not compressed.
fn stored(plain: &[u8]) -> Vec<u8> {
    const BLOCK_LEN_MAX: usize = 65_535;
    let mut bytes = vec![0x78, 0x01];
    let mut blocks = plain.chunks(BLOCK_LEN_MAX).peekable();
    while let Some(block) = blocks.next() {
        let length = block.len() as u16;
        bytes.push(u8::from(blocks.peek().is_none()));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&(!length).to_le_bytes());
        bytes.extend_from_slice(block);
    }
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in plain {
        low = (low + u32::from(*byte)) % 65_521;
        high = (high + low) % 65_521;
    }
    bytes.extend_from_slice(&(high << 16 | low).to_be_bytes());
    bytes
}
