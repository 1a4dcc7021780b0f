//! What a job sees of its confinement, and which things that only root may do it gets away with.
//!
//! A line for each: `inspect: uid=1001`. Of the environment only names are said. Whatever succeeds leaves nothing behind.

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::chown, net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

const SOCKETS: [&str; 2] = ["/var/run/docker.sock", "/run/docker.sock"];
/// Of the process, as the kernel says it: the line's name and ours.
const STATUS: [(&str, &str); 8] = [
    ("Uid", "uid"),
    ("Gid", "gid"),
    ("CapPrm", "cap_prm"),
    ("CapEff", "cap_eff"),
    ("CapBnd", "cap_bnd"),
    ("CapAmb", "cap_amb"),
    ("NoNewPrivs", "no_new_privs"),
    ("Seccomp", "seccomp"),
];
/// Limits, where either generation of control groups has them.
const LIMITS: [(&str, [&str; 2]); 3] = [
    ("memory_max", ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]),
    ("pids_max", ["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]),
    ("cpu_max", ["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"]),
];

/// Looks around.
pub(crate) fn lines(work: &Path) -> Vec<String> {
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut see = |name: &str, value: String| seen.push((name.to_owned(), value));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (line, name) in STATUS {
        let value = status.lines().find_map(|given| given.strip_prefix(line)?.strip_prefix(':'));
        see(name, value.and_then(|value| value.split_whitespace().next()).unwrap_or("unknown").to_owned());
    }
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    see("groups", groups.split_whitespace().collect::<Vec<_>>().join(","));
    see("pid", std::process::id().to_string());
    see("processes", processes().to_string());
    for (name, paths) in LIMITS {
        let value = paths.iter().find_map(|path| fs::read_to_string(path).ok());
        see(name, value.map_or("unknown".to_owned(), |value| value.trim().to_owned()));
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    see("nofile", files.and_then(|line| line.split_whitespace().next()).unwrap_or("unknown").to_owned());
    for (name, folder) in
        [("root", Path::new("/")), ("work", work), ("tmp", &env::temp_dir()), ("etc", Path::new("/etc"))]
    {
        see(&format!("{name}_writable"), yes(is_writable(folder)));
    }
    see("work_entries", fs::read_dir(work).map_or(0, Iterator::count).to_string());
    see("tmp_runs_programs", yes(runs_programs(&env::temp_dir())));
    let socket = SOCKETS.iter().find(|path| fs::symlink_metadata(path).is_ok());
    see("docker_socket", socket.map_or("none".to_owned(), |path| (*path).to_owned()));
    let host = env::var("DOCKER_HOST").unwrap_or_default();
    see("docker_host", if host.is_empty() { "none".to_owned() } else { host.clone() });
    see("docker_answers", yes(is_engine(&host)));
    see("becomes_root", yes(becomes_root()));
    see("gives_to_root", yes(gives_to_root(&env::temp_dir())));
    see("changes_root", yes(changes_root()));
    see("writes_kernel", yes(writes_kernel()));
    see("reads_shadow", yes(fs::read("/etc/shadow").is_ok()));
    let mut names: Vec<String> =
        env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    see("environment", names.join(","));
    let interfaces = fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let interfaces = interfaces.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()));
    see("interfaces", interfaces.collect::<Vec<_>>().join(","));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, target, kind, options, ..] = words.as_slice() {
            see("mount", format!("{target} {kind} {options}"));
        }
    }
    seen.into_iter().map(|(name, value)| format!("inspect: {name}={value}")).collect()
}

fn yes(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn processes() -> usize {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .count()
}

fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(".standin-probe");
    let is_made = fs::write(&probe, b"probe").is_ok();
    is_made && fs::remove_file(&probe).is_ok()
}

fn runs_programs(folder: &Path) -> bool {
    let probe = folder.join(".standin-program");
    let is_made = fs::copy("/proc/self/exe", &probe).is_ok();
    let runs = is_made && quiet(Command::new(&probe).arg("true"));
    let _ = fs::remove_file(&probe);
    runs
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A child that asks for root's number before it starts.
fn becomes_root() -> bool {
    quiet(Command::new("/proc/self/exe").uid(0).gid(0).arg("true"))
}

fn gives_to_root(folder: &Path) -> bool {
    let probe = folder.join(".standin-owned");
    let is_done = fs::write(&probe, b"probe").is_ok() && chown(&probe, Some(0), Some(0)).is_ok();
    let _ = fs::remove_file(&probe);
    is_done
}

/// To the same place, so that nothing changes where it is allowed.
fn changes_root() -> bool {
    std::os::unix::fs::chroot("/").is_ok()
}

/// The host's name as it is, so that nothing changes where it is allowed.
fn writes_kernel() -> bool {
    const NAME: &str = "/proc/sys/kernel/hostname";
    fs::read(NAME).is_ok_and(|name| fs::write(NAME, name).is_ok())
}

/// Whether an engine answers where `DOCKER_HOST` says, or at the usual place.
fn is_engine(host: &str) -> bool {
    let ping = || -> std::io::Result<bool> {
        let patience = Some(Duration::from_secs(2));
        if let Some(address) = host.strip_prefix("tcp://") {
            let stream = TcpStream::connect(address)?;
            stream.set_read_timeout(patience)?;
            return answers(stream);
        }
        let stream = UnixStream::connect(host.strip_prefix("unix://").unwrap_or(SOCKETS[0]))?;
        stream.set_read_timeout(patience)?;
        answers(stream)
    };
    ping().unwrap_or(false)
}

fn answers(mut stream: impl Read + Write) -> std::io::Result<bool> {
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(4_096).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).contains(" 200 "))
}
