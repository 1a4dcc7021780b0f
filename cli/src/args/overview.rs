//! The first screen of `wfengine --help`. Kept by hand, because it groups what clap can only list; a test holds it to the verbs.

/// What `wfengine --help` prints: every verb, grouped, on one screen.
pub(crate) const OVERVIEW: &str = "\
wfengine: a leaderless workflow engine. One node per host, one signed log, no server.

Usage: wfengine [--json] [--data-dir DIR] VERB …

Run       run FILE          execute a workflow file here and now
          submit FILE       let the rule decide which host runs it
          list · show · logs · cancel · rerun · priority · why · owner · distance
Programs  task submit|next|complete|fail|release|extend|result, work -- CMD
          tags · check-tags
Cluster   serve             run this host's node (init names it first, if you like)
          peer invite|join|add|list|remove|id · allow · sync · pause · resume · status
Audit     replay [--verify] print or prove the history
          log export|import · clock
Try       example           write workflows to try, demo: a cluster on this host
Shell     completions SHELL · man [VERB]

Options   --json            print one JSON document (or a line per item) to stdout
          --data-dir DIR    where the node's log and key are [WFENGINE_DATA_DIR]
          -h, --help        this page; `wfengine VERB --help` for one verb
          -V, --version
Status    0 done · 1 failed or not so · 2 bad input · 3 refused · 4 unreachable · 70 disk

Start with:  wfengine example hello && wfengine run hello.yml
";
