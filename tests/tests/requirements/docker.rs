//! Whether a Docker Engine answers, asked by hand over its socket: no client library stands between the question and the answer.

use std::{
    env,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const PATIENCE: Duration = Duration::from_secs(5);

/// The socket of an engine that answers: the one that `DOCKER_HOST` names, else the usual one.
pub(crate) fn socket() -> Option<PathBuf> {
    let path = match env::var("DOCKER_HOST") {
        // an engine elsewhere is not one on whose host the tests can look around
        Ok(host) if !host.is_empty() => PathBuf::from(host.strip_prefix("unix://")?),
        _ => PathBuf::from(DEFAULT_SOCKET),
    };
    is_answering(&path).is_ok_and(|is| is).then_some(path)
}

fn is_answering(socket: &Path) -> io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
}
