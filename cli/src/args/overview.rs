//! The first screen of `wfengine --help`. Kept by hand, because it groups what clap can only list; a test holds it to the verbs.

/// What `wfengine --help` prints: every verb, grouped, on one screen.
pub(crate) const OVERVIEW: &str = "\
wfengine: a leaderless workflow engine. One node per host, one signed log, no server.

Usage: wfengine VERB … [--json] [--data-dir DIR]

Run       run FILE            execute a workflow file here and now; needs no node
          submit FILE         hand it to the cluster: the ownership rule picks the host
          list · show · logs · cancel · rerun · priority · why · owner · distance
Programs  task VERB           work that your own programs take, do and report
          work -- COMMAND     take tasks in a loop and run a command for each
          tags · check-tags   which words send a workflow or task where
Cluster   serve               run this host's node (init names it first, if you like)
          peer invite|join    let another host in; also add, list, remove, id
          allow · sync · pause · resume · status
Audit     replay [--verify]   print or prove the history
          log export|import · clock
Try       example · demo      write workflows to try; a cluster of three on this host
Shell     completions · man   `wfengine VERB --help` for one verb

Options   --json              print JSON: one document, or a line for each item
          --data-dir DIR      where the node's log and key are [WFENGINE_DATA_DIR]
          --help · --version
Status    0 done · 1 failed · 2 bad input · 3 refused · 4 unreachable · 70 disk

Start with:  wfengine example hello && wfengine run hello.yml
";
