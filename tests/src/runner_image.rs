//! The stand-in runner as a program on this machine, and as images at a Docker Engine: nothing but one static program, a few
//! folders and two users.
//!
//! The program is built by `rustc` from `tests/standin-runner` and kept beside cargo's output under the hash of its sources;
//! an image is kept at the engine under the same hash. Nothing is fetched from anywhere.
//!
//! ```no_run
//! # async fn example(engine: &wfengine_docker::Engine) -> Result<(), wfengine_tests::runner_image::ImageError> {
//! let image = wfengine_tests::runner_image::RunnerImage::build(engine).await?;
//! // give `image.reference` to a pool, with `image.host_entry` so that the container finds the stand-in service
//! # let _ = image;
//! # Ok(())
//! # }
//! ```
//!
//! Invariants: equal sources give equal names; what is there under a name was built from those sources, for a half-built
//! program never has its name.

mod archive;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use wfengine_docker::{Engine, EngineError};

use archive::{Archive, Owner};

/// Who jobs run as in the official image.
pub const RUNNER_UID: u32 = 1001;
/// Who a rootless engine runs as in its official image.
pub const SIDECAR_UID: u32 = 1000;
/// Where the sidecar's engine listens.
pub const SIDECAR_SOCKET: &str = "/run/user/1000/docker.sock";
/// The runner's home and working folder; the program also stands there as `run.sh`, as in the official image.
pub const RUNNER_HOME: &str = "/home/runner";
/// How containers call the host where the stand-in listens.
pub const SERVICE_HOST: &str = "github.test";

const PROGRAM: &str = "standin-runner";
const FLAGS: [&str; 8] =
    ["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-C", "panic=abort", "-Cstrip=symbols"];
const HASH_LEN: usize = 16;
const USERS: &str = "root:x:0:0:root:/:/standin-runner\nrunner:x:1001:1001::/home/runner:/standin-runner\nrootless:x:1000:1000::/run/user/1000:/standin-runner\n";
const GROUPS: &str = "root:x:0:\nrunner:x:1001:\nrootless:x:1000:\n";

/// One build at a time in this process; others of the same test run are kept apart by the name they build under.
static BUILDING: Mutex<()> = Mutex::new(());
/// One import at a time as well: a second one would take the name away from the first.
static IMPORTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Why there is no program or no image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The sources cannot be read, or the program not be written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The compiler does not run, or refuses. It needs the static C library of the system.
    #[error("rustc does not build the stand-in runner: {0}")]
    Compiler(String),
    /// The engine does not take the image.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> ImageError {
    let path = path.to_owned();
    |source| ImageError::File { path, source }
}

/// An image at an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunnerImage {
    /// What containers are made from, with a tag that names the sources.
    pub reference: String,
    /// `sha256:…`
    pub id: String,
    /// For `extra_hosts`: lets the container find a stand-in with `runner_host: Some("github.test")` on this host.
    pub host_entry: String,
}

impl RunnerImage {
    /// The runner: user 1001, home and temporary folder its own, the program as entry point and as `run.sh`.
    pub async fn build(engine: &Engine) -> Result<Self, ImageError> {
        let changes = [
            format!("USER {RUNNER_UID}"),
            format!("ENTRYPOINT [\"/{PROGRAM}\"]"),
            format!("WORKDIR {RUNNER_HOME}"),
            format!("ENV HOME={RUNNER_HOME}"),
        ];
        Self::make(engine, PROGRAM, &changes).await
    }

    /// The engine of a job's own that answers `_ping` and nothing more, at [`SIDECAR_SOCKET`].
    pub async fn build_sidecar(engine: &Engine) -> Result<Self, ImageError> {
        let changes = [
            format!("USER {SIDECAR_UID}"),
            format!("ENTRYPOINT [\"/{PROGRAM}\", \"sidecar\"]"),
            "WORKDIR /run/user/1000".to_owned(),
        ];
        Self::make(engine, "standin-sidecar", &changes).await
    }

    async fn make(engine: &Engine, name: &str, changes: &[String]) -> Result<Self, ImageError> {
        let (program, hash) = (runner_program()?, source_hash()?);
        let mut tagged = Sha256::new();
        tagged.update(&hash);
        tagged.update(changes.join("\n"));
        let reference = format!("wfengine-test/{name}:{}", &HEXLOWER.encode(&tagged.finalize())[..HASH_LEN]);
        let _one_at_a_time = IMPORTING.lock().await;
        let image = match engine.image(&reference).await {
            Ok(image) => image,
            Err(EngineError::ImageMissing { .. }) => {
                let bytes = fs::read(&program).map_err(at(&program))?;
                engine.import_image(&reference, root_file_system(&bytes), changes).await?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self { reference, id: image.id, host_entry: format!("{SERVICE_HOST}:host-gateway") })
    }
}

fn root_file_system(program: &[u8]) -> Vec<u8> {
    let (root, runner) = (Owner(0), Owner(RUNNER_UID));
    let mut archive = Archive::default();
    for folder in ["etc", "home", "run", "run/user", "var"] {
        archive.folder(folder, 0o755, root);
    }
    archive.folder("run/user/1000", 0o755, Owner(SIDECAR_UID));
    archive.folder("tmp", 0o1777, runner);
    archive.folder("home/runner", 0o755, runner);
    // a fresh volume takes its owner from what it covers
    archive.folder("home/runner/_work", 0o755, runner);
    archive.file("etc/passwd", 0o644, root, USERS.as_bytes());
    archive.file("etc/group", 0o644, root, GROUPS.as_bytes());
    archive.file(PROGRAM, 0o755, root, program);
    archive.link("home/runner/run.sh", PROGRAM, root);
    archive.finish()
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(PROGRAM)
}

fn source_hash() -> Result<String, ImageError> {
    let folder = sources();
    let mut paths = Vec::new();
    for entry in fs::read_dir(&folder).map_err(at(&folder))? {
        paths.push(entry.map_err(at(&folder))?.path());
    }
    paths.sort();
    let mut hash = Sha256::new();
    hash.update(FLAGS.join(" "));
    for path in paths.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")) {
        hash.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        hash.update([0]);
        hash.update(fs::read(path).map_err(at(path))?);
    }
    Ok(HEXLOWER.encode(&hash.finalize())[..HASH_LEN].to_owned())
}

/// Where cargo writes for tests; elsewhere when the process was not built by it.
fn scratch() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.map_or_else(env::temp_dir, |target| target.join("tmp"))
}

/// The program for this machine, built when its sources are new.
pub fn runner_program() -> Result<PathBuf, ImageError> {
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = scratch();
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let path = folder.join(format!("{PROGRAM}-{}", source_hash()?));
    if path.is_file() {
        return Ok(path);
    }
    let building = folder.join(format!("{PROGRAM}-building-{}", std::process::id()));
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(FLAGS).arg("-o").arg(&building).arg(sources().join("main.rs"));
    let output = command.output().map_err(|error| ImageError::Compiler(error.to_string()))?;
    if !output.status.success() {
        return Err(ImageError::Compiler(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    fs::rename(&building, &path).map_err(at(&path))?;
    Ok(path)
}
