//! Who belongs to the cluster, what they may say, and up to where their chains count; and what a cut or a fork undoes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "functions of tests fail by panicking")]

mod building;

use building::*;
use wfengine_core::command::Command;
use wfengine_core::ownership::ranking;
use wfengine_core::views::job::Status;
use wfengine_storage_format::*;

/// Alice founds; bob and erin are admins, dave is an executor and submitter.
fn cluster() -> (Node, Node, Node, Node) {
    let mut alice = Node::founding("alice");
    for (name, roles) in [("bob", Roles::ALL), ("dave", Roles::MEMBER), ("erin", Roles::ALL)] {
        alice.ask(Command::Admit(admitted(peer(name), roles)));
    }
    let join = |name| {
        let mut node = Node::joining(name, alice.log.cluster());
        node.sync_from(&alice);
        node
    };
    let (bob, dave, erin) = (join("bob"), join("dave"), join("erin"));
    (alice, bob, dave, erin)
}

fn is_member(node: &Node, name: &str) -> bool {
    node.views.authority().roster().member(&peer(name)).is_some()
}

fn is_void(node: &Node, event: &EventId) -> bool {
    node.views.authority().roster().void().contains(event)
}

/// Both nodes take what the other has; they must agree on what they see.
fn meet(a: &mut Node, b: &mut Node) {
    let before = a.clone();
    a.sync_from(b);
    b.sync_from(&before);
    assert_eq!(a.shown(), b.shown());
}

#[test]
fn only_admins_admit_invite_and_label_and_nobody_gives_what_he_lacks() {
    let (mut alice, _, mut dave, _) = cluster();
    let ids = [
        dave.write(admitted(peer("zoe"), Roles::MEMBER)),
        dave.write(invited(&signer("invite"), Roles::NONE)),
        dave.write(PeerLabelled { peer: dave.peer(), labels: vec!["gpu".into()], weight: 64 }),
        dave.revoke(peer("bob")),
    ];
    alice.sync_from(&dave);
    assert!(ids.iter().all(|id| is_void(&alice, id)));
    assert!(!is_member(&alice, "zoe") && is_member(&alice, "bob"));
    assert!(alice.views.authority().roster().was_ever_member(&peer("zoe")), "its frames are admissible");
    let only_admin = alice.ask(Command::Admit(admitted(peer("frank"), Roles::NONE.with(Role::Admin))));
    let mut frank = Node::joining("frank", alice.log.cluster());
    frank.sync_from(&alice);
    let too_much = frank.write(invited(&signer("invite"), Roles::MEMBER));
    let fine = frank.write(invited(&signer("invite"), Roles::NONE));
    assert!(is_void(&frank, &too_much) && !is_void(&frank, &fine) && !is_void(&frank, &only_admin));
}

#[test]
fn what_a_peer_without_the_role_writes_about_runs_is_void() {
    let (mut alice, _, mut dave, _) = cluster();
    alice.ask(Command::Admit(admitted(peer("guest"), Roles::NONE)));
    let mut guest = Node::joining("guest", alice.log.cluster());
    let (run, job) = alice.submit_task("a");
    guest.sync_from(&alice);
    dave.sync_from(&alice);
    let submission = guest.run(&run).canonical.unwrap();
    let cancel = RunCancelled { run, submission, reason: String::new() };
    let claim = guest.claim_body(run, job);
    let void = [
        guest.write(task("a")),
        guest.write(cancel.clone()),
        guest.write(PriorityChanged { run, submission, priority_milli: 1 }),
        guest.write(claim),
        dave.write(cancel),
    ];
    alice.sync_from(&guest);
    alice.sync_from(&dave);
    let shown = alice.run(&run);
    let listed: Vec<EventId> =
        shown.void.iter().chain(shown.jobs.values().flat_map(|job| &job.void)).copied().collect();
    assert_eq!(listed.len(), void.len());
    assert!(void.iter().all(|id| listed.contains(id)));
    assert_eq!((shown.status, shown.priority_milli, shown.submissions.len()), (Status::Pending, 3000, 1));
}

#[test]
fn an_invite_lets_one_peer_in_whoever_writes_it_down_and_expiry_is_no_matter_of_folds() {
    let (mut alice, mut bob, mut dave, _) = cluster();
    let (cluster, key) = (alice.log.cluster(), signer("invite"));
    // it expired in the first millisecond of 1970
    let invite = alice.ask(Command::Invite(invited(&key, Roles::MEMBER)));
    bob.sync_from(&alice);
    dave.sync_from(&alice);
    let by_another_key = bob.write(admitted_by_invite(&cluster, peer("mallory"), invite, &signer("guess")));
    assert!(is_void(&bob, &by_another_key));
    bob.ask(Command::Admit(admitted_by_invite(&cluster, peer("carol"), invite, &key)));
    dave.ask(Command::Admit(admitted_by_invite(&cluster, peer("zoe"), invite, &key)));
    assert!(is_member(&bob, "carol") && is_member(&dave, "zoe"));
    meet(&mut bob, &mut dave);
    assert!(is_member(&bob, "carol") != is_member(&bob, "zoe"));
    let (winner, loser) = if is_member(&bob, "carol") { ("carol", "zoe") } else { ("zoe", "carol") };
    let roster = bob.views.authority().roster();
    assert_eq!(roster.invite_used_by(&invite), Some(peer(winner)));
    assert!(roster.was_ever_member(&peer(loser)));
    assert!(roster.member(&peer(winner)).unwrap().labels.contains("gpu"));
    // used once more, later and knowingly
    let again = dave.write(admitted_by_invite(&cluster, peer("late"), invite, &key));
    assert!(is_void(&dave, &again));
}

#[test]
fn what_a_peer_wrote_counts_no_more_when_an_earlier_admission_used_its_invite() {
    // whoever loses the invite has submitted before the winner's admission arrives
    let (mut alice, mut bob, mut dave, _) = cluster();
    let (cluster, key) = (alice.log.cluster(), signer("invite"));
    let invite = alice.ask(Command::Invite(invited(&key, Roles::MEMBER)));
    bob.sync_from(&alice);
    dave.sync_from(&alice);
    bob.ask(Command::Admit(admitted_by_invite(&cluster, peer("carol"), invite, &key)));
    dave.ask(Command::Admit(admitted_by_invite(&cluster, peer("zoe"), invite, &key)));
    let runs: Vec<RunId> = [("carol", &mut bob), ("zoe", &mut dave)]
        .into_iter()
        .map(|(name, sponsor)| {
            let mut node = Node::joining(name, cluster);
            node.sync_from(sponsor);
            let (run, _) = node.submit_task(name);
            sponsor.sync_from(&node);
            assert!(sponsor.run(&run).submitted.is_some());
            run
        })
        .collect();
    meet(&mut bob, &mut dave);
    let counted = runs.iter().filter(|run| bob.run(run).submitted.is_some()).count();
    assert_eq!(counted, 1);
}

#[test]
fn a_peer_whose_first_admission_was_void_gets_its_say_with_the_second() {
    let (mut alice, _, mut dave, _) = cluster();
    dave.write(admitted(peer("zoe"), Roles::MEMBER));
    let mut zoe = Node::joining("zoe", alice.log.cluster());
    zoe.sync_from(&dave);
    let body = task("z");
    let run = body.run();
    zoe.write(body);
    alice.ask(Command::Admit(admitted(peer("zoe"), Roles::MEMBER)));
    let mut late = alice.clone();
    alice.sync_from(&zoe);
    zoe.sync_from(&late);
    assert!(zoe.run(&run).submitted.is_some());
    late.sync_from(&zoe);
    assert_eq!(alice.shown(), zoe.shown());
    assert_eq!(late.shown(), zoe.shown());
}

#[test]
fn a_revocation_leaves_what_its_author_saw_and_voids_the_rest() {
    let (mut alice, mut bob, _, _) = cluster();
    let (seen, job) = bob.submit_task("seen");
    alice.sync_from(&bob);
    let claim = alice.claim(seen, job);
    alice.revoke(bob.peer());
    let (unseen, _) = bob.submit_task("unseen");
    bob.restart(1);
    let (elsewhere, _) = bob.submit_task("under another incarnation");
    meet(&mut alice, &mut bob);
    assert_eq!(alice.run(&seen).jobs[&job].effective, Some(claim));
    for run in [unseen, elsewhere] {
        assert!(alice.views.runs().live(&run).is_none_or(|run| run.submitted.is_none()));
    }
    assert!(!is_member(&alice, "bob") && alice.views.authority().roster().is_former(&bob.peer()));
    // a key that was revoked is never let in again
    let again = alice.write(admitted(bob.peer(), Roles::ALL));
    assert!(is_void(&alice, &again) && !is_member(&alice, "bob"));
}

#[test]
fn several_revocations_leave_the_least() {
    let (mut alice, mut bob, mut dave, mut erin) = cluster();
    let (first, _) = dave.submit_task("first");
    alice.sync_from(&dave);
    let (second, _) = dave.submit_task("second");
    erin.sync_from(&dave);
    alice.revoke(dave.peer());
    erin.revoke(dave.peer());
    meet(&mut alice, &mut erin);
    meet(&mut alice, &mut dave);
    meet(&mut alice, &mut bob);
    assert!(alice.run(&first).submitted.is_some());
    assert!(alice.views.runs().live(&second).is_none_or(|run| run.submitted.is_none()));
}

#[test]
fn of_two_admins_who_revoke_each_other_the_earlier_admitted_stays() {
    let (_, mut bob, _, mut erin) = cluster();
    bob.revoke(erin.peer());
    erin.revoke(bob.peer());
    assert!(!is_member(&bob, "erin") && !is_member(&erin, "bob"));
    meet(&mut bob, &mut erin);
    assert!(is_member(&bob, "bob") && !is_member(&bob, "erin"));
}

#[test]
fn an_admin_let_in_above_the_cut_revokes_nobody() {
    let (mut alice, mut bob, _, _) = cluster();
    alice.revoke(bob.peer());
    bob.write(admitted(peer("puppet"), Roles::ALL));
    let mut puppet = Node::joining("puppet", alice.log.cluster());
    puppet.sync_from(&bob);
    puppet.revoke(alice.peer());
    meet(&mut alice, &mut puppet);
    assert!(is_member(&alice, "alice") && !is_member(&alice, "puppet") && !is_member(&alice, "bob"));
}

#[test]
fn a_claim_of_whoever_was_let_in_above_a_cut_is_void_though_the_submission_knew_it() {
    let (mut alice, mut bob, mut dave, _) = cluster();
    alice.revoke(bob.peer());
    bob.write(admitted(peer("puppet"), Roles::ALL));
    dave.sync_from(&bob);
    let (run, job) = dave.submit_task("t");
    let mut puppet = Node::joining("puppet", alice.log.cluster());
    puppet.sync_from(&dave);
    let claim = puppet.claim(run, job);
    meet(&mut alice, &mut puppet);
    let shown = &alice.run(&run).jobs[&job];
    assert_eq!((shown.effective, &shown.void), (None, &vec![claim]));
}

#[test]
fn revoking_the_founder_leaves_the_cluster_founded() {
    let (mut alice, mut bob, mut dave, _) = cluster();
    // the careless way: nothing of the founder's chains is listed
    bob.write(PeerRevoked { peer: alice.peer(), reason: String::new(), cuts: vec![] });
    assert!(!is_member(&bob, "alice"));
    assert!(bob.views.authority().roster().is_former(&alice.peer()), "the founding itself still counts");
    // the careful way keeps everybody whom the founder let in
    dave.sync_from(&alice);
    let (mut alice2, mut bob2, _, _) = cluster();
    bob2.revoke(alice2.peer());
    meet(&mut alice2, &mut bob2);
    assert!(is_member(&bob2, "bob") && is_member(&bob2, "dave") && !is_member(&bob2, "alice"));
    meet(&mut alice, &mut dave);
}

#[test]
fn a_member_leaves_by_itself_and_what_it_wrote_before_stays() {
    let (mut alice, _, mut dave, _) = cluster();
    let (run, _) = dave.submit_task("before");
    let cuts = dave.cuts_of(&dave.peer());
    dave.ask(Command::Revoke(PeerRevoked { peer: dave.peer(), reason: "bye".into(), cuts }));
    let after = dave.write(task("after"));
    meet(&mut alice, &mut dave);
    assert!(!is_member(&alice, "dave") && alice.run(&run).submitted.is_some());
    let place = alice.log.locate(&after, &alice.stored).unwrap();
    assert!(!alice.views.authority().roster().counts(&place.chain, place.seq));
}

#[test]
fn a_rotated_key_hands_over_roles_labels_weight_and_seniority() {
    let (mut alice, mut bob, mut dave, _) = cluster();
    alice.ask(Command::Label(PeerLabelled { peer: bob.peer(), labels: vec!["gpu".into()], weight: 3 }));
    bob.sync_from(&alice);
    let before = bob.views.authority().roster().member(&bob.peer()).unwrap().clone();
    let to = signer("bob's new key");
    let body = |signed_by: &Signer| KeyRotated {
        to: to.peer_id(),
        signature: signed_by.sign(&rotation_statement(&bob.log.cluster(), &bob.peer(), &to.peer_id())),
        cuts: bob.cuts_of(&bob.peer()),
    };
    let (forged, fine) = (body(&signer("mallory")), body(&to));
    let forged = bob.write(forged);
    assert!(is_void(&bob, &forged) && is_member(&bob, "bob"));
    let cuts = bob.cuts_of(&bob.peer());
    bob.ask(Command::Rotate(KeyRotated { cuts, ..fine }));
    let above = bob.write(admitted(peer("zoe"), Roles::ALL));
    let roster = bob.views.authority().roster();
    let after = roster.member(&to.peer_id()).unwrap();
    assert_eq!(after, &before);
    assert!(!is_member(&bob, "bob") && !is_member(&bob, "zoe") && is_void(&bob, &above));
    let mut heir = Node::joining("bob's new key", alice.log.cluster());
    heir.sync_from(&bob);
    heir.revoke(peer("erin"));
    dave.sync_from(&heir);
    assert!(!is_member(&dave, "erin"), "the heir is an admin");
}

#[test]
fn labels_and_weights_change_the_ranking_of_later_submissions_only() {
    let (mut alice, mut bob, _, _) = cluster();
    let order = |node: &Node, run: &RunId, job: &JobId| {
        let submission = node.run(run).submission().unwrap().clone();
        let known = node.views.authority().closure_under(&submission.refs);
        ranking(&ownership_key(&submission.head, job), &known, &[])
    };
    let (run, job) = bob.submit_task("early");
    alice.sync_from(&bob);
    let before = order(&alice, &run, &job);
    let roster_before = alice.views.authority().closure_under(&alice.run(&run).submission().unwrap().refs);
    let claim = alice.claim(run, job);
    let rank = alice.run(&run).jobs[&job].claim(&claim).unwrap().rank;
    alice.ask(Command::Label(PeerLabelled { peer: peer("dave"), labels: vec!["gpu".into()], weight: 64 }));
    alice.ask(Command::Admit(admitted(peer("newcomer"), Roles::MEMBER)));
    assert_eq!(order(&alice, &run, &job), before);
    assert_eq!(alice.run(&run).jobs[&job].claim(&claim).unwrap().rank, rank);
    alice.revoke(peer("erin"));
    assert_eq!(order(&alice, &run, &job), before, "the submission did not know of the revocation");
    let (late, late_job) = alice.submit_task("late");
    let late_order = order(&alice, &late, &late_job);
    assert_eq!(late_order.len(), before.len(), "one came and one went");
    assert!(late_order.iter().all(|ranked| ranked.peer != peer("erin")));
    let known = alice.views.authority().closure_under(&alice.run(&late).submission().unwrap().refs);
    assert_eq!(known.member(&peer("dave")).unwrap().weight, 64);
    assert_eq!(roster_before.member(&peer("dave")).unwrap().weight, 1);
    // the newcomer may claim the earlier job, behind everybody whom the submission knew
    let mut newcomer = Node::joining("newcomer", alice.log.cluster());
    newcomer.sync_from(&alice);
    let body = newcomer.claim_body(run, job);
    let claim = newcomer.write(body);
    assert_eq!(newcomer.run(&run).jobs[&job].claim(&claim).unwrap().band, 1);
}

#[test]
fn a_fork_cuts_one_chain_from_the_least_doubtful_place_and_leaves_the_others() {
    let (mut alice, mut bob, mut dave, _) = cluster();
    let (before, _) = bob.submit_task("before");
    let mut twin = bob.clone();
    let (one, _) = bob.submit_task("one");
    bob.write(admitted(peer("zack"), Roles::ALL));
    let (other, _) = twin.submit_task("other");
    alice.sync_from(&bob);
    dave.sync_from(&twin);
    alice.sync_from(&dave);
    assert!(is_member(&alice, "zack"));
    // a submission that knew the branch: its ranking must be that of nodes that do not hold it
    let (ranked, ranked_job) = alice.submit_task("ranked");
    alice.claim(ranked, ranked_job);
    for proof in alice.proofs.clone() {
        alice.ask(Command::ProveFork(proof));
    }
    dave.sync_from(&alice);
    assert_eq!(alice.shown(), dave.shown());
    assert!(!is_member(&alice, "zack") && is_member(&alice, "bob"));
    assert!(alice.run(&before).submitted.is_some());
    assert!(alice.views.runs().live(&one).is_none_or(|run| run.submitted.is_none()));
    assert!(dave.views.runs().live(&other).is_none_or(|run| run.submitted.is_none()));
    let cuts: Vec<u64> = alice.views.authority().roster().forked_chains().values().copied().collect();
    assert_eq!(cuts, [1]);
    bob.restart(1);
    bob.sync_from(&alice);
    let (goes_on, _) = bob.submit_task("under another incarnation");
    alice.sync_from(&bob);
    assert!(alice.run(&goes_on).submitted.is_some());
}

#[test]
fn a_forged_proof_cuts_nothing() {
    let (mut alice, bob, mut dave, _) = cluster();
    let genuine = bob.frame_of(Kind::from_number(0x7000), b"one", vec![]).signed_header();
    let forger = signer("mallory");
    let mut header = bob.frame_of(Kind::from_number(0x7000), b"other", vec![]).signed_header().header;
    header.count = 2;
    let forged = SignedHeader { signature: forger.sign(&header.statement()), header };
    dave.write(ForkProved { first: genuine, second: forged });
    alice.sync_from(&dave);
    assert!(alice.views.authority().roster().forked_chains().is_empty());
}
