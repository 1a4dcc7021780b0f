//! The two ways in which a runner is told who it is.
//!
//! A just-in-time configuration is written to files beside the program, as the original does, and the program starts over in
//! the same process without it: neither its environment nor its command line shows it from then on. Where nothing can be
//! written beside it, the files go to the folder for temporary ones.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{base64, exit, http::Host, json::Json};

pub(crate) const JIT_VARIABLE: &str = "ACTIONS_RUNNER_INPUT_JITCONFIG";
const WORK: &str = "_work";

/// A runner that has its credentials.
#[derive(Debug, Clone)]
pub(crate) struct Configured {
    pub(crate) service: Host,
    pub(crate) agent: u64,
    pub(crate) name: String,
    pub(crate) secret: String,
    pub(crate) is_ephemeral: bool,
    pub(crate) work: PathBuf,
}

/// A runner that has to register first.
#[derive(Debug, Clone)]
pub(crate) struct ToRegister {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) name: String,
    pub(crate) labels: Vec<String>,
    pub(crate) is_ephemeral: bool,
    pub(crate) has_no_default_labels: bool,
    pub(crate) work: PathBuf,
}

/// Writes the files of a just-in-time configuration and starts over. Comes back only with a failure.
pub(crate) fn unpack(blob: &str) -> i32 {
    match written(blob) {
        Ok(folder) => {
            let mut again = Command::new("/proc/self/exe");
            let failed = again.arg("--configured").arg(folder).env_remove(JIT_VARIABLE).exec();
            eprintln!("cannot start over: {failed}");
        }
        Err(error) => eprintln!("An error occurred: {error}"),
    }
    exit::TERMINATED
}

fn written(blob: &str) -> Result<PathBuf, String> {
    let bytes = base64::decode(blob).ok_or("the just-in-time configuration is not base64")?;
    let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
    let files = Json::read(&text).ok_or("the just-in-time configuration is not JSON")?;
    let here = env::current_dir().map_err(|error| error.to_string())?;
    let mut failure = String::new();
    for folder in [here, env::temp_dir()] {
        match write(&files, &folder) {
            Ok(()) => return Ok(folder),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn write(files: &Json, folder: &Path) -> Result<(), String> {
    if files.fields().is_empty() {
        return Err("the just-in-time configuration has no files".to_owned());
    }
    for (name, content) in files.fields() {
        if name.contains('/') {
            return Err(format!("{name} is no name of a file"));
        }
        let bytes = base64::decode(content.text()).ok_or(format!("{name} is not base64"))?;
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Reads the files of a just-in-time configuration.
pub(crate) fn from_files(folder: &str) -> Result<Configured, String> {
    let read = |name: &str| {
        let path = Path::new(folder).join(name);
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Json::read(text.trim_start_matches('\u{feff}')).ok_or(format!("{} is not JSON", path.display()))
    };
    let (settings, credentials) = (read(".runner")?, read(".credentials")?);
    let setting = |name: &str| settings.field(name).text().to_owned();
    let work = setting("WorkFolder");
    Ok(Configured {
        service: Host::of(&setting("ServerUrl")).ok_or(".runner names no ServerUrl")?,
        agent: settings.field("AgentId").number().ok_or(".runner names no AgentId")?,
        name: setting("AgentName"),
        secret: credentials.field("Data").field("ClientId").text().to_owned(),
        is_ephemeral: setting("Ephemeral") == "true" || settings.field("Ephemeral") == &Json::Bool(true),
        work: home().join(if work.is_empty() { WORK } else { &work }),
    })
}

/// As the original does when its one job is through.
pub(crate) fn remove_files(folder: &str) {
    for name in [".credentials", ".runner", ".credentials_rsaparams"] {
        if fs::remove_file(Path::new(folder).join(name)).is_ok() && name != ".credentials_rsaparams" {
            println!("√ Removed {name}");
        }
    }
}

fn home() -> PathBuf {
    env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads the environment of the third-party image.
pub(crate) fn from_environment() -> Result<ToRegister, String> {
    let host = variable("GITHUB_HOST").unwrap_or_else(|| "github.com".to_owned());
    let host = if host.contains("://") { host } else { format!("http://{host}") };
    let scope = variable("RUNNER_SCOPE").unwrap_or_else(|| "repo".to_owned());
    let url = if scope.starts_with("org") {
        let organization = variable("ORG_NAME").ok_or("ORG_NAME required for org runners")?;
        format!("{host}/{organization}")
    } else {
        variable("REPO_URL").ok_or("REPO_URL required for repo runners")?
    };
    let token = variable("RUNNER_TOKEN").ok_or("RUNNER_TOKEN is not set and there is no other way")?;
    let prefix = variable("RUNNER_NAME_PREFIX").unwrap_or_else(|| "github-runner".to_owned());
    let name = variable("RUNNER_NAME").unwrap_or_else(|| format!("{prefix}-{}", std::process::id()));
    let labels = variable("RUNNER_LABELS").or_else(|| variable("LABELS"));
    let labels = labels.unwrap_or_else(|| "default".to_owned());
    Ok(ToRegister {
        url,
        token,
        name,
        labels: labels.split(',').map(|label| label.trim().to_owned()).collect(),
        is_ephemeral: variable("EPHEMERAL").is_some(),
        has_no_default_labels: variable("NO_DEFAULT_LABELS").is_some(),
        work: variable("RUNNER_WORKDIR").map_or_else(|| home().join(WORK), PathBuf::from),
    })
}
