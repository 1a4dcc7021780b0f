//! The stand-in for an engine of the job's own: a socket, and a port on the loopback address as the original has it without
//! certificates. Both answer what clients ask first, and nothing more.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
    thread,
    time::Duration,
};

use crate::exit;

const SOCKET: &str = "/run/user/1000/docker.sock";
const PORT: u16 = 2375;
const PATIENCE: Duration = Duration::from_secs(5);

/// Serves until it is killed.
pub(crate) fn serve(socket: Option<&str>) -> i32 {
    let path = Path::new(socket.unwrap_or(SOCKET));
    if let Some(folder) = path.parent() {
        // an engine makes its folder where it may
        let _ = fs::create_dir_all(folder);
    }
    let _ = fs::remove_file(path);
    let listener = match UnixListener::bind(path) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return exit::TERMINATED;
        }
    };
    // the job is somebody else
    let opened = fs::set_permissions(path, fs::Permissions::from_mode(0o666));
    println!("API listen on {}{}", path.display(), if opened.is_ok() { "" } else { " for its owner alone" });
    // whoever shares its loopback finds it there
    let on_port = thread::Builder::new().spawn(|| serve_on_port(PORT));
    if on_port.is_err() {
        eprintln!("port {PORT}: no thread for it");
    }
    for mut stream in listener.incoming().flatten() {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        answer(&mut stream);
    }
    exit::DONE
}

fn serve_on_port(port: u16) {
    let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(listener) => listener,
        Err(error) => return eprintln!("port {port}: {error}"),
    };
    println!("API listen on 127.0.0.1:{port}");
    for mut stream in listener.incoming().flatten() {
        let _ = stream.set_read_timeout(Some(PATIENCE));
        answer(&mut stream);
    }
}

fn answer(stream: &mut (impl Read + Write)) {
    let mut request = [0; 4_096];
    let length = stream.read(&mut request).unwrap_or_default();
    let line = String::from_utf8_lossy(&request[..length]);
    let line = line.lines().next().unwrap_or_default();
    let path = line.split(' ').nth(1).unwrap_or_default();
    println!("{line}");
    let (status, body) = match path.rsplit('/').next() {
        Some("_ping") => ("200 OK", "OK"),
        Some("version") => ("200 OK", "{\"ApiVersion\":\"1.41\",\"Version\":\"20.10.24\"}"),
        _ => ("404 Not Found", "{\"message\":\"page not found\"}"),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nApi-Version: 1.41\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // a client that is gone needs no answer
    let _ = stream.write_all(answer.as_bytes());
}
