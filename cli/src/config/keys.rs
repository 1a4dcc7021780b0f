//! The table of all keys: what a node can be told in its configuration file, in its environment and with options.
//!
//! Nothing else knows a key's name, range or default: the file's reader, the variables, `config show`, `config check` and the guide's
//! table are made from this one. Options of a verb stay with clap; which of them stands for which key is said here.
//!
//! Invariant: every key has a default that its own range allows; no two share a name or a variable.

use super::value::{Kind, Value};

/// What a key has where nobody says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Default {
    /// As it is written in the file.
    Is(&'static str),
    /// No value; the text says what holds then.
    Unset(&'static str),
}

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// `table.key`, as the file has it.
    pub(crate) name: &'static str,
    /// Which values it takes.
    pub(crate) kind: Kind,
    /// What a value counts or is, in a word or two.
    pub(crate) unit: &'static str,
    /// What holds where nobody says otherwise.
    pub(crate) default: Default,
    /// The option that comes before everything else; empty: none.
    pub(crate) flag: &'static str,
    /// Its value is not shown whole: it may hold what opens something.
    pub(crate) is_secret: bool,
    /// What it does.
    pub(crate) help: &'static str,
}

impl Key {
    /// The variable of the environment: `http.port` is `WFENGINE_HTTP_PORT`.
    pub(crate) fn variable(&self) -> String {
        format!("WFENGINE_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }

    /// Its default as people read it.
    pub(crate) fn default_shown(&self) -> String {
        match self.default {
            Default::Is(written) => written.to_owned(),
            Default::Unset(what) => what.to_owned(),
        }
    }

    /// Its default, if that is a value.
    pub(crate) fn default_value(&self) -> Option<Value> {
        match self.default {
            Default::Is(written) => self.kind.written(written).ok(),
            Default::Unset(_) => None,
        }
    }
}

const DAY_MS: u64 = 86_400_000;

/// All of them, in the order in which they are shown.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "http.enabled",
        kind: Kind::Switch,
        unit: "",
        default: Default::Is("true"),
        flag: "--no-http",
        is_secret: false,
        help: "answer programs over HTTP while serving; the option --http turns it on",
    },
    Key {
        name: "http.host",
        kind: Kind::Address,
        unit: "address",
        default: Default::Is("\"127.0.0.1\""),
        flag: "--http",
        is_secret: false,
        help: "where programs ask; one that other hosts reach needs http.cert",
    },
    Key {
        name: "http.port",
        kind: Kind::Number { min: 0, max: 65_535 },
        unit: "TCP port",
        default: Default::Is("8080"),
        flag: "--http",
        is_secret: false,
        help: "the next free one if it is taken; 0: any free one",
    },
    Key {
        name: "http.cert",
        kind: Kind::File,
        unit: "path",
        default: Default::Unset("none"),
        flag: "--http-cert",
        is_secret: false,
        help: "PEM file with the certificate, and those between it and its authority: speak TLS; needs http.key",
    },
    Key {
        name: "http.key",
        kind: Kind::File,
        unit: "path",
        default: Default::Unset("none"),
        flag: "--http-key",
        is_secret: false,
        help: "PEM file with the certificate's key",
    },
    Key {
        name: "http.allowed_hosts",
        kind: Kind::HostPorts { len_max: 64 },
        unit: "HOST:PORT",
        default: Default::Is("[]"),
        flag: "--http-host",
        is_secret: false,
        help: "names to answer under besides, as a proxy or tunnel in front is called",
    },
    Key {
        name: "http.allowed_origins",
        kind: Kind::Origins { len_max: 64 },
        unit: "origin",
        default: Default::Is("[]"),
        flag: "--http-origin",
        is_secret: false,
        help: "web pages that may ask, such as https://pages.example",
    },
    Key {
        name: "network.listen",
        kind: Kind::Socket,
        unit: "UDP ADDR:PORT",
        default: Default::Is("\"[::]:4433\""),
        flag: "--listen",
        is_secret: false,
        help: "where other members connect to; the next free port if it is taken",
    },
    Key {
        name: "network.lan",
        kind: Kind::Switch,
        unit: "",
        default: Default::Is("true"),
        flag: "--no-lan",
        is_secret: false,
        help: "be found on the local network, and look for members there",
    },
    Key {
        name: "jobs.slots",
        kind: Kind::Number { min: 0, max: 1_024 },
        unit: "jobs",
        default: Default::Unset("the number of processors"),
        flag: "--slots",
        is_secret: false,
        help: "jobs at once; 0: none",
    },
    Key {
        name: "jobs.grace",
        kind: Kind::Duration { min_ms: 0, max_ms: 7 * DAY_MS },
        unit: "duration",
        default: Default::Is("\"5m\""),
        flag: "--grace",
        is_secret: false,
        help: "how long running jobs may go on after a stop signal",
    },
    Key {
        name: "runners.verbose",
        kind: Kind::Switch,
        unit: "",
        default: Default::Is("false"),
        flag: "--verbose",
        is_secret: false,
        help: "say more of what the autoscaler does",
    },
    Key {
        name: "notify.command",
        kind: Kind::Command { len_max: 64 },
        unit: "program",
        default: Default::Is("[]"),
        flag: "",
        is_secret: true,
        help: "gets each notification as JSON on its standard input; no shell is between",
    },
    Key {
        name: "notify.webhook",
        kind: Kind::Webhook,
        unit: "URL",
        default: Default::Unset("none"),
        flag: "",
        is_secret: true,
        help: "gets each notification as a signed POST; needs notify.secret_file",
    },
    Key {
        name: "notify.secret_file",
        kind: Kind::File,
        unit: "path",
        default: Default::Unset("none"),
        flag: "",
        is_secret: false,
        help: "holds the secret that signs, at least 16 bytes",
    },
    Key {
        name: "notify.events",
        kind: Kind::Words(crate::notify::EVENTS),
        unit: "",
        default: Default::Is(
            "[\"run.completed\", \"run.failed\", \"run.cancelled\", \"conflict\", \"disk.low\", \"node.left\"]",
        ),
        flag: "",
        is_secret: false,
        help: "what to tell of",
    },
    Key {
        name: "notify.timeout",
        kind: Kind::Duration { min_ms: 100, max_ms: 300_000 },
        unit: "duration",
        default: Default::Is("\"10s\""),
        flag: "",
        is_secret: false,
        help: "how long one attempt may take",
    },
    Key {
        name: "notify.attempts",
        kind: Kind::Number { min: 1, max: 10 },
        unit: "attempts",
        default: Default::Is("5"),
        flag: "",
        is_secret: false,
        help: "at most; waits of 1 s, 2 s, 4 s and so on are between them",
    },
    Key {
        name: "notify.left_after",
        kind: Kind::Duration { min_ms: 0, max_ms: DAY_MS },
        unit: "duration",
        default: Default::Is("\"1m\""),
        flag: "",
        is_secret: false,
        help: "how long a member has to be away before it is told",
    },
];

/// The key of this name.
pub(crate) fn named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// How alike two words have to be so that one may have been meant by the other.
const ALIKE_MIN: f64 = 0.8;
/// Names that are offered.
const NEAR_MAX: usize = 3;

/// Keys that may have been meant, the most alike first.
pub(crate) fn near(name: &str) -> Vec<&'static str> {
    let name: String = name.chars().take(100).collect::<String>().to_ascii_lowercase().replace('-', "_");
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let mut alike: Vec<(f64, &'static str)> = KEYS
        .iter()
        .map(|key| {
            let whole = strsim::jaro_winkler(&name, key.name);
            // the right key in another table, or in none
            let part = strsim::normalized_damerau_levenshtein(&last(&name), &last(key.name));
            (whole.max(part), key.name)
        })
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .collect();
    alike.sort_by(|one, other| other.0.total_cmp(&one.0));
    alike.into_iter().take(NEAR_MAX).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Beginning of the guide's table.
    const TABLE_BEGINS: &str = "| key | value | unit | default | variable | option | what it does |\n|---|---|---|---|---|---|---|\n";

    #[test]
    fn every_default_is_a_value_that_its_key_allows() {
        for key in KEYS {
            if let Default::Is(written) = key.default {
                let value =
                    key.kind.written(written).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", key.name));
                key.kind.check(&value).unwrap_or_else(|wrong| panic!("{}: {wrong}", key.name));
            }
        }
    }

    #[test]
    fn names_and_variables_are_unique_and_every_key_is_in_a_table() {
        let names: BTreeSet<&str> = KEYS.iter().map(|key| key.name).collect();
        let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
        assert_eq!((names.len(), variables.len()), (KEYS.len(), KEYS.len()));
        assert!(names.iter().all(|name| name.split('.').count() == 2));
        // these name the node and the ways to it, and are no keys
        for taken in
            ["WFENGINE_DATA_DIR", "WFENGINE_NODE", "WFENGINE_TOKEN", "WFENGINE_CONFIG", "WFENGINE_LOG"]
        {
            assert!(!variables.contains(taken));
        }
    }

    #[test]
    fn a_word_that_is_nearly_a_key_finds_it() {
        assert_eq!(near("http.prot").first(), Some(&"http.port"));
        assert_eq!(near("http.allowed-origins").first(), Some(&"http.allowed_origins"));
        assert_eq!(near("serve.slots").first(), Some(&"jobs.slots"));
        assert!(near("colour").is_empty(), "{:?}", near("colour"));
    }

    #[test]
    fn the_guide_holds_this_table() {
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let mut table = TABLE_BEGINS.to_owned();
        for key in KEYS {
            let default = match key.default {
                Default::Is(written) => code(written),
                Default::Unset(what) => what.to_owned(),
            };
            let cells = [
                code(key.name),
                key.kind.allowed(),
                key.unit.to_owned(),
                default,
                code(&key.variable()),
                code(key.flag),
                key.help.to_owned(),
            ];
            table.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        let guide = include_str!("../../guide/configuration.md");
        assert!(guide.contains(&table), "the table of cli/guide/configuration.md has to be:\n{table}");
    }
}
