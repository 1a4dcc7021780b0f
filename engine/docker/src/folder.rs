//! Folders inside containers and volumes, and what a container holds: its environment, its size.

use std::path::PathBuf;

use bollard::query_parameters::UploadToContainerOptions;

use crate::{Engine, EngineError, engine::filled, error::Subject, reference};

/// Bytes of a block of a tar file.
const BLOCK: usize = 512;

impl Engine {
    /// Opens a folder that a volume is mounted at to every user inside, as `/tmp` is. A new volume belongs to root, and what runs in the
    /// container as somebody else could not write there. Before or after the start.
    pub async fn open_folder(&self, container: &str, path: &str) -> Result<(), EngineError> {
        let id = reference::name(container)?;
        let subject = Subject::Container(id.to_owned());
        let options =
            UploadToContainerOptions { path: path.to_owned(), ..UploadToContainerOptions::default() };
        let body = bollard::body_full(open_folder_tar().into());
        self.ask(&subject, |docker| async move { docker.upload_to_container(id, Some(options), body).await })
            .await
    }

    /// The environment that a container was made with, `NAME=value`: secrets are among the values.
    pub async fn environment(&self, container: &str) -> Result<Vec<String>, EngineError> {
        let answer = self.inspect(container, false).await?;
        Ok(answer.config.and_then(|config| config.env).unwrap_or_default())
    }

    /// Bytes that a container wrote into its own layer, volumes left out; `None` if the engine does not say.
    pub async fn layer_bytes(&self, container: &str) -> Result<Option<u64>, EngineError> {
        let answer = self.inspect(container, true).await?;
        Ok(answer.size_rw.and_then(|bytes| u64::try_from(bytes).ok()))
    }

    /// Where a volume lies on the engine's host.
    pub async fn volume_folder(&self, name: &str) -> Result<Option<PathBuf>, EngineError> {
        let name = reference::name(name)?;
        let subject = Subject::Volume(name.to_owned());
        let volume = self.ask(&subject, |docker| async move { docker.inspect_volume(name).await }).await?;
        Ok(filled(Some(volume.mountpoint)).map(PathBuf::from))
    }
}

/// A tar file with one entry: the folder itself, mode 1777. POSIX ustar.
fn open_folder_tar() -> Vec<u8> {
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    // engines pass over an entry `./` of a folder that is there, and take `/` for that same folder
    put(0, "/");
    put(100, "0001777\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, "00000000000\0");
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "5");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut tar = header.to_vec();
    // the end of the file is two blocks of nothing
    tar.resize(BLOCK * 3, 0);
    tar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_one_open_folder() {
        let tar = open_folder_tar();
        assert_eq!((tar.len(), &tar[..2], &tar[100..107]), (1536, b"/\0".as_slice(), b"0001777".as_slice()));
        let sum: u32 = tar[..512]
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        let written = std::str::from_utf8(&tar[148..154]).unwrap();
        assert_eq!(u32::from_str_radix(written, 8).unwrap(), sum);
    }
}
