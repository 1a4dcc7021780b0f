//! Events of a later version: what this one does with a critical kind that it does not know.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod house;

use house::{House, text, until};
use wfengine_core::time::WallMs;
use wfengine_storage_format::{ChainId, FrameBuilder, Incarnation, Kind};
use wfengine_store::{DataDir, Purpose, Store};

/// A critical kind that no version has, so far.
const FUTURE: u16 = 0xfff0;

/// Writes an event as a later version of the program might have done on this host before it was replaced by this one.
fn write_as_a_later_version(house: &House) {
    let data = DataDir::open(house.data()).unwrap();
    let _lock = data.lock().unwrap();
    let cluster = data.current_cluster().unwrap().unwrap();
    let signer = data.known_identity().unwrap().unwrap();
    let dir = data.cluster_dir(&cluster);
    let fresh = Incarnation::from_bytes([1; 16]);
    let (store, _) = Store::open(&dir, signer.clone(), Purpose::Command, fresh, "").unwrap();
    let (heads, height) = {
        let frontier = store.watcher().frontier();
        (frontier.heads.clone(), frontier.height())
    };
    let chain = ChainId { author: signer.peer_id(), incarnation: Incarnation::from_bytes([2; 16]) };
    let mut builder = FrameBuilder::new(Some(cluster), chain, 0, None, heads);
    let kind = Kind::from_number(FUTURE);
    assert!(kind.is_critical());
    builder.push(height + 1, 0, vec![], vec![], kind, b"for later".to_vec());
    let frame = builder.sign(&signer).unwrap();
    let outcomes = store.recorder().take_blocking(vec![frame], signer.peer_id(), WallMs(1)).unwrap();
    assert_eq!(outcomes.len(), 1);
    store.close().unwrap();
}

#[test]
fn a_node_that_must_be_upgraded_says_so_goes_on_replicating_and_claims_nothing() {
    let (old, other, late) = (House::new(), House::new(), House::new());
    old.put_script("hello.yml", "echo hello");
    let invite = || {
        let line = text(&old.one(&["peer", "invite"]), "join_line").to_owned();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<String>>()
    };
    let node = old.serve();
    let mut joined = other.begin(&invite());
    joined.wait_for("serves on UDP");
    node.stop().ends(0);
    joined.stop().ends(0);
    write_as_a_later_version(&old);
    let node = old.serve();
    let status = old.one(&["status"]);
    assert!(text(&status, "declines").contains("upgrade"), "{status}");
    assert!(old.ask(&["status"]).ends(0).out.contains("must be upgraded"));

    // what the node need not understand goes on: submissions, and the log to others
    old.ask(&["submit", "hello.yml", "--id", "hello"]).ends(0);
    let why = text(&old.one(&["why", "hello"]), "text").to_owned();
    assert!(why.contains("must be upgraded"), "{why}");
    let there = other.serve();
    let status = old.one(&["status"]);
    other.ask(&["peer", "add", text(&status, "listen")]).ends(0);
    until("the log is on the other host", || {
        let [here, there] = [&old, &other].map(|house| house.one(&["clock"]));
        (text(&here, "merkle_root") == text(&there, "merkle_root")).then_some(())
    });
    assert_eq!(text(&old.show("hello"), "status"), "pending");
    assert!(text(&other.one(&["status"]), "declines").contains("upgrade"));
    // who may come in is for those to say who understand the whole log
    late.ask(&invite()).ends(3).complains(&["upgrade"]);
    drop((node, there));

    // a short command is held to the same, and the audit names the event
    old.ask(&["run", "hello.yml"]).ends(3).complains(&["upgrade"]);
    let replayed = old.ask(&["replay", "--verify"]).ends(0);
    assert!(replayed.out.contains("fff0"), "{replayed:?}");
}
