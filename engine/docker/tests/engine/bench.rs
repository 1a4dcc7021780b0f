//! What a test at an engine stands on: an image with one small program, labels of its own, and the removal of everything that
//! carries them, also when the test fails.
//!
//! Nothing is fetched: the program is compiled here without anything it would have to load, and packed by hand.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use wfengine_docker::{ContainerSpec, ContainerState, Endpoint, Engine, Events};

/// The label of everything that tests make.
pub(crate) const LABEL: &str = "dev.wfengine.test";
/// Longer than anything here takes: a test that waits longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const BLOCK: usize = 512;

static MADE: AtomicU32 = AtomicU32::new(0);

const PROGRAM: &str = r#"
use std::io::Write;
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words[0].as_str() {
        "exit" => std::process::exit(words[1].parse().unwrap()),
        "wait" => loop { std::thread::park() },
        "print" => {
            let lines: u32 = words[1].parse().unwrap();
            for line in 0..lines {
                if line % 2 == 0 { println!("line {line}") } else { eprintln!("line {line}") }
                std::io::stdout().flush().unwrap();
            }
        }
        "try" => std::process::exit(std::fs::write(&words[1], vec![7u8; 100_000]).is_err().into()),
        "eat" => {
            let mut eaten = Vec::new();
            loop { eaten.push(vec![1u8; 1 << 20]) }
        }
        "see" => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            for name in ["Uid:", "CapEff:", "CapBnd:", "NoNewPrivs:"] {
                println!("{}", status.lines().find(|line| line.starts_with(name)).unwrap());
            }
            println!("root {}", std::fs::write("/x", "x").is_ok());
            println!("tmp {}", std::fs::write("/tmp/x", "x").is_ok());
            println!("volume {}", std::fs::write("/volume/x", "x").is_ok());
            println!("value {}", std::env::var("VALUE").unwrap_or_default());
        }
        other => panic!("{other}"),
    }
}
"#;

/// One test's place at an engine.
pub(crate) struct Bench {
    pub(crate) engine: Engine,
    pub(crate) image: String,
    pub(crate) name: String,
}

impl Bench {
    /// With an image of its own.
    pub(crate) async fn at(socket: &Path) -> Self {
        let name = unique_name();
        let bench = Self { engine: engine(socket), image: format!("{name}:1"), name };
        let changes = ["ENTRYPOINT [\"/program\"]".to_owned(), "USER 1001:1001".to_owned()];
        bench.engine.import_image(&bench.image, image_of_program(), &changes).await.unwrap();
        bench
    }

    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(LABEL.to_owned(), self.name.clone())])
    }

    pub(crate) fn mine(&self) -> [(&str, &str); 1] {
        [(LABEL, &self.name)]
    }

    /// A container that runs the program with these words.
    pub(crate) fn spec(&self, words: &[&str]) -> ContainerSpec {
        ContainerSpec {
            command: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            labels: self.labels(),
            stop_grace: Duration::from_secs(1),
            ..ContainerSpec::hardened(&self.image)
        }
    }

    /// Makes and starts one.
    pub(crate) async fn run(&self, suffix: &str, spec: &ContainerSpec) -> String {
        let id = self.engine.create_container(&format!("{}-{suffix}", self.name), spec).await.unwrap();
        self.engine.start_container(&id).await.unwrap();
        id
    }

    /// Runs one to its end.
    pub(crate) async fn finish(&self, suffix: &str, spec: &ContainerSpec) -> ContainerState {
        let mut events = self.engine.events(&self.mine()).await.unwrap();
        let id = self.run(suffix, spec).await;
        until(&mut events, "die", &id).await;
        self.engine.container(&id).await.unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let (engine, image, name) = (self.engine.clone(), self.image.clone(), self.name.clone());
        // a runtime of its own: the test's may be going down with a panic
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(clean(&engine, &[(LABEL, &name)], &image));
        });
        let _ = cleaning.join();
    }
}

async fn clean(engine: &Engine, mine: &[(&str, &str)], image: &str) {
    for container in engine.containers(mine).await.unwrap_or_default() {
        let _ = engine.remove_container(&container.id).await;
    }
    for network in engine.networks(mine).await.unwrap_or_default() {
        let _ = engine.remove_network(&network.id).await;
    }
    for volume in engine.volumes(mine).await.unwrap_or_default() {
        let _ = engine.remove_volume(&volume.name).await;
    }
    let _ = engine.remove_image(image).await;
}

/// A name that nothing at the engine has.
pub(crate) fn unique_name() -> String {
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let folder = tempfile::tempdir().unwrap();
    let chance = folder.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_lowercase();
    format!("wfengine-test-{}-{number}-{chance}", std::process::id())
}

/// A root file system with one empty folder, as a tar.
pub(crate) fn small_tar() -> Vec<u8> {
    let mut tar = header("volume/", 0o755, 0, b'5').to_vec();
    tar.resize(3 * BLOCK, 0);
    tar
}

pub(crate) fn engine(socket: &Path) -> Engine {
    Engine::new(Endpoint::parse(socket.to_str().unwrap()).unwrap())
}

/// Reads events until this container's has come.
pub(crate) async fn until(events: &mut Events, action: &str, id: &str) {
    let wanted = async {
        loop {
            let event = events.next().await.unwrap().unwrap();
            if event.action == action && event.container == id {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, wanted).await.unwrap();
}

/// A root file system as a tar: the program and the folders that something is mounted on.
fn image_of_program() -> Vec<u8> {
    static TAR: OnceLock<Vec<u8>> = OnceLock::new();
    TAR.get_or_init(|| {
        let program = compiled();
        let mut tar = Vec::new();
        for folder in ["tmp/", "volume/"] {
            tar.extend(header(folder, 0o777, 0, b'5'));
        }
        tar.extend(header("program", 0o755, program.len(), b'0'));
        tar.extend(&program);
        tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
        tar
    })
    .clone()
}

fn compiled() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, program): (PathBuf, PathBuf) =
        (folder.path().join("program.rs"), folder.path().join("program"));
    std::fs::write(&source, PROGRAM).unwrap();
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(compiler);
    compile.args([
        "--edition=2024",
        "-Copt-level=1",
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
        "-o",
    ]);
    let output = compile.arg(&program).arg(&source).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(&program).unwrap()
}

/// One header of the format ustar.
fn header(name: &str, mode: u32, size: usize, kind: u8) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}
