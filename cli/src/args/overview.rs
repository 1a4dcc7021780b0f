//! The first screen of `wfengine --help`. Kept by hand, because it groups what clap can only list; a test holds it to the verbs.

/// What `wfengine --help` prints: every verb, grouped, on one screen.
pub(crate) const OVERVIEW: &str = "\
wfengine: a leaderless workflow engine. One node per host, one log, no server.

Usage: wfengine VERB … [--json] [--data-dir DIR]    (VERB --help says more)

Run       run FILE           execute a workflow file here and now
          submit FILE        hand it to the cluster; a rule picks the host
          list · show · logs · cancel · rerun · priority · why · owner
Programs  task VERB          work that your own programs take, do and report
          work -- COMMAND    take tasks in a loop and run a command for each
          tags · check-tags  words that say where work may run · mcp: for agents
Discover  discover VERB      find tagged workflows in repositories and run them
Runners   runner VERB        GitHub runners in containers, as jobs are queued
Cluster   serve              run this host's node (init can name it first)
          peer invite|join   bring in another host; also add, list, remove, id
          allow              say whose work this host runs
          sync · pause · resume · status · config · doctor · notify · metrics
Audit     replay [--verify]  print or prove the history
          log export|import · clock · distance
Try       example · demo     completions · man · schema: of --json
Older     as ipfs-kit …      an older program's words · import kit FILE
Options   --json             print JSON: one document, or a line for each item
          --data-dir DIR     log, key [WFENGINE_DATA_DIR] · --help · --version
Status    0 done · 1 failed · 2 bad input · 3 refused · 4 unreachable · 70 disk

Start with:  wfengine example hello && wfengine run hello.yml
";
