//! Who runs a job: the same answer on every node that knows the submission, evenly spread, in proportion to weights.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use std::collections::BTreeMap;

use building::*;
use wfengine_core::command::Command;
use wfengine_core::ownership::{nearest, owner, place_in_ranking, ranking};
use wfengine_storage_format::*;

const TASKS: u32 = 10_000;

fn cluster_of(names: &[&str]) -> Vec<Node> {
    let mut founder = Node::founding(names[0]);
    for name in &names[1..] {
        founder.ask(Command::Admit(admitted(peer(name), Roles::MEMBER)));
    }
    let cluster = founder.log.cluster();
    let mut nodes = vec![founder];
    for name in &names[1..] {
        let mut node = Node::joining(name, cluster);
        node.sync_from(&nodes[0]);
        nodes.push(node);
    }
    nodes
}

fn key_of(task: u32, head: &Hash32) -> Hash32 {
    let run = run_id(format!("id:{task}").as_bytes(), 1);
    ownership_key(head, &job_id(&run, "task", &BTreeMap::new()))
}

#[test]
fn three_nodes_name_the_same_owner_for_ten_thousand_tasks_and_spread_them_evenly() {
    let nodes = cluster_of(&["alice", "bob", "carol"]);
    let mut load: BTreeMap<PeerId, u32> = BTreeMap::new();
    for task in 0..TASKS {
        let key = key_of(task, &nodes[0].log.clock_hash());
        let named: Vec<_> =
            nodes.iter().map(|node| owner(&key, node.views.authority().roster(), &[]).unwrap()).collect();
        assert!(named.iter().all(|owner| *owner == named[0]), "task {task}: {named:?}");
        *load.entry(named[0].peer).or_default() += 1;
    }
    let even = TASKS / 3;
    assert_eq!(load.len(), 3);
    assert!(load.values().all(|tasks| tasks.abs_diff(even) * 100 <= even * 15), "{load:?}");
}

#[test]
fn the_owner_is_the_first_of_the_ranking_and_places_are_counted_alike() {
    let nodes = cluster_of(&["alice", "bob", "carol", "dave", "erin"]);
    let roster = nodes[0].views.authority().roster();
    let mut ties = 0;
    for task in 0..500 {
        let key = key_of(task, &[0; 32]);
        let order = ranking(&key, roster, &[]);
        assert_eq!(owner(&key, roster, &[]), Some(order[0]));
        let peers: Vec<PeerId> = order.iter().map(|ranked| ranked.peer).collect();
        assert_eq!(nearest(&key, &peers), Some((order[0].peer, order[0].distance)));
        ties += order.windows(2).filter(|pair| pair[0].distance == pair[1].distance).count();
        for (place, ranked) in order.iter().enumerate() {
            let found = place_in_ranking(&key, roster, &[], &ranked.peer, |_| true);
            assert_eq!(found, Some((u32::try_from(place).unwrap(), *ranked)));
            let without_first = place_in_ranking(&key, roster, &[], &ranked.peer, |peer| *peer != peers[0]);
            assert_eq!(without_first.map(|(place, _)| place + 1), (place > 0).then_some(place as u32));
        }
    }
    assert!(ties > 100, "{ties} ties");
    assert_eq!(place_in_ranking(&[0; 32], roster, &[], &peer("nobody"), |_| true), None);
    assert_eq!(place_in_ranking(&[0; 32], roster, &["gpu".into()], &peer("alice"), |_| true), None);
}

#[test]
fn a_node_that_knows_less_names_the_same_owner_or_lacks_the_submission() {
    let mut nodes = cluster_of(&["alice", "bob", "carol"]);
    let mut behind = nodes.pop().unwrap();
    let mut lacking = 0;
    for task in 0..60 {
        let submitter = &mut nodes[task % 2];
        if task % 10 == 5 {
            // what the node that is behind does not hear of
            let name = format!("late {task}");
            nodes[0].ask(Command::Admit(admitted(peer(&name), Roles::MEMBER)));
            continue;
        }
        let (run, job) = submitter.submit_task(&format!("task {task}"));
        let source = submitter.clone();
        let other = (task + 1) % 2;
        nodes[other].sync_from(&source);
        if task.is_multiple_of(3) {
            behind.sync_from(&source);
        }
        let named = |node: &Node| {
            let run = node.views.runs().live(&run)?;
            let submission = run.submission()?;
            let known = node.views.authority().closure_under(&submission.refs);
            let order = ranking(&ownership_key(&submission.head, &job), &known, &[]);
            Some(order.into_iter().map(|ranked| ranked.peer).collect::<Vec<_>>())
        };
        let expected = named(&nodes[0]);
        assert!(expected.is_some());
        assert_eq!(named(&nodes[1]), expected);
        match named(&behind) {
            None => lacking += 1,
            found => assert_eq!(found, expected, "task {task}"),
        }
    }
    assert!((10..50).contains(&lacking), "{lacking}");
}

#[test]
fn weights_one_two_and_four_get_shares_in_proportion() {
    let mut nodes = cluster_of(&["alice", "bob", "carol"]);
    for (name, weight) in [("bob", 2), ("carol", 4)] {
        nodes[0].ask(Command::Label(PeerLabelled { peer: peer(name), labels: vec![], weight }));
    }
    let roster = nodes[0].views.authority().roster();
    let mut load: BTreeMap<PeerId, u32> = BTreeMap::new();
    for task in 0..TASKS {
        let owner = owner(&key_of(task, &[1; 32]), roster, &[]).unwrap();
        *load.entry(owner.peer).or_default() += 1;
    }
    for (name, weight) in [("alice", 1), ("bob", 2), ("carol", 4)] {
        let (found, ideal) = (load[&peer(name)], TASKS * weight / 7);
        assert!(found.abs_diff(ideal) * 100 <= ideal * 15, "{name}: {found}, ideal {ideal}");
    }
}

#[test]
fn the_published_vectors_hold() {
    let hash = sha256(b"peer-1");
    let text = BlobId::from_bytes(hash).to_string();
    assert_eq!(text, "37effc81d805811d59f99c1376b393b25529b7482c39ad866c49791b62dc44bb");
    assert_eq!(hamming_distance(&hash, &sha256(b"peer-2")), 130);
    assert_eq!(hamming_distance(&hash, &sha256(b"peer-3")), 123);
    assert_eq!(hamming_distance(&sha256(b"alice"), &sha256(b"bob")), 120);
    // the rule over raw ids: of peers 2 and 3 the third is nearer to the key that is peer 1's point
    let by_hand =
        ["peer-2", "peer-3"].iter().min_by_key(|name| hamming_distance(&hash, &sha256(name.as_bytes())));
    assert_eq!(by_hand, Some(&"peer-3"));
}
