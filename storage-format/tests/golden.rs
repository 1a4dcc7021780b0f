//! Golden files: the bytes of format 1 as they were when it was fixed. They decode, verify and encode as ever, or a test fails.
//!
//! `golden/v1/*.frame` are frames, `golden/v1/index.tsv` says of each what it holds: one line per event with its place, id,
//! kind and outcome, or one line with the error for a frame that must be refused. The words of the last column are those of
//! SPEC.md, section "Outcomes". `golden/v1/hashes.tsv` holds the hashes that stand in no frame: runs, jobs, ownership.
//!
//! Files are added, never edited. `tests/story` derives them from fixed seeds; to add one, extend the story and run
//! `WFENGINE_GOLDEN_WRITE=1 cargo test -p wfengine-storage-format --test golden`, which writes the files that are missing,
//! appends their lines to the index and refuses to touch a file that exists. Without the variable a missing file is a failure.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::result_large_err,
    reason = "this file is a test: it stops at the first surprise, and errors are rare"
)]

mod by_hand;
mod story;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use by_hand::RawFrame;
use data_encoding::HEXLOWER;
use wfengine_storage_format::{
    Body, CodecError, EventId, FrameBuilder, FrameError, Kind, SignatureError, SignedFrame, Signer,
    VerifiedFrame, VoidReason, canonical_matrix, clock_head, duty_key, fork_between, hamming_distance,
    job_id, limits, ownership_key, peer_point, run_id, sha256, tie_break,
};

const HEADER: &str = "file\tseq\tevent id\tkind\toutcome\n";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

fn codec_word(error: &CodecError) -> &'static str {
    match error {
        CodecError::Malformed { .. } => "malformed",
        CodecError::NotCanonical { .. } => "not-canonical",
        CodecError::TooLong { .. } => "too-long",
    }
}

fn error_word(error: &FrameError) -> String {
    match error {
        FrameError::Codec(error) => format!("codec:{}", codec_word(error)),
        FrameError::Format(_) => "format".to_owned(),
        FrameError::Count { .. } => "count".to_owned(),
        FrameError::Envelope { rule, .. } => format!("envelope:{rule}"),
        FrameError::Hash { .. } => "hash".to_owned(),
        FrameError::Signature { reason: SignatureError::Wrong(_), .. } => "signature:wrong".to_owned(),
        FrameError::Signature { reason: SignatureError::NotAKey(_), .. } => "signature:not-a-key".to_owned(),
    }
}

fn body_word(kind: Kind, bytes: &[u8]) -> String {
    match Body::decode(kind, bytes) {
        Body::Unknown if kind.is_critical() => "unknown-critical".to_owned(),
        Body::Unknown => "unknown".to_owned(),
        Body::Void(VoidReason::Bound(_)) => "void:bound".to_owned(),
        Body::Void(VoidReason::Codec(error)) => format!("void:{}", codec_word(&error)),
        _ => "ok".to_owned(),
    }
}

fn read(bytes: &[u8]) -> Result<VerifiedFrame, FrameError> {
    SignedFrame::decode(bytes)?.verify()
}

/// The lines of the index for one file, without the file's name.
fn observe(bytes: &[u8]) -> Vec<[String; 4]> {
    let frame = match read(bytes) {
        Ok(frame) => frame,
        Err(error) => return vec![["-".into(), "-".into(), "-".into(), error_word(&error)]],
    };
    let row = |(id, event): &(_, wfengine_storage_format::Event)| {
        let id: &EventId = id;
        let kind = format!("0x{:04x}", event.kind.number());
        [event.seq.to_string(), id.to_string(), kind, body_word(event.kind, &event.body)]
    };
    frame.events().iter().map(row).collect()
}

fn index() -> BTreeMap<String, Vec<[String; 4]>> {
    let text = fs::read_to_string(folder().join("index.tsv")).expect("golden/v1/index.tsv is committed");
    let lines = text.strip_prefix(HEADER).expect("the index begins with its column names").lines();
    let mut index = BTreeMap::<String, Vec<[String; 4]>>::new();
    for line in lines {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, rest @ ..] = &columns[..] else { panic!("empty line in the index") };
        let rest = <[&str; 4]>::try_from(rest).expect("five columns").map(str::to_owned);
        index.entry((*file).to_owned()).or_default().push(rest);
    }
    index
}

fn committed() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".frame") {
            files.insert(name, fs::read(&path).unwrap());
        }
    }
    assert!(!files.is_empty());
    files
}

/// Whether the caller asked for missing files to be written.
fn writing() -> bool {
    std::env::var("WFENGINE_GOLDEN_WRITE").is_ok_and(|value| value == "1")
}

/// Writes what is missing, if asked to.
fn write_missing(specimens: &[story::Specimen]) {
    let index = folder().join("index.tsv");
    if !index.exists() {
        fs::write(&index, HEADER).unwrap();
    }
    let mut index = OpenOptions::new().append(true).open(index).unwrap();
    for specimen in specimens {
        let path = folder().join(&specimen.file);
        if path.exists() {
            continue;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        file.write_all(&specimen.bytes).unwrap();
        for row in observe(&specimen.bytes) {
            writeln!(index, "{}\t{}", specimen.file, row.join("\t")).unwrap();
        }
    }
}

#[test]
fn the_story_told_today_gives_the_committed_bytes() {
    let specimens = story::tell();
    for specimen in &specimens {
        let outcomes: Vec<String> = observe(&specimen.bytes).into_iter().map(|row| row[3].clone()).collect();
        assert_eq!(outcomes, specimen.outcomes, "{}", specimen.file);
    }
    if writing() {
        write_missing(&specimens);
    }
    let mut committed = committed();
    for specimen in &specimens {
        let bytes = committed.remove(&specimen.file).unwrap_or_else(|| {
            panic!("{} is not in golden/v1; the header of this test says how to add it", specimen.file)
        });
        assert!(
            bytes == specimen.bytes,
            "{} is written otherwise than it was: the format changed",
            specimen.file
        );
    }
    assert!(committed.is_empty(), "files that the story does not tell: {:?}", committed.keys());
}

/// The hashes of sections 3 and 11 over small inputs, each with its inputs in words.
fn hashes() -> String {
    let peers = [1, 2, 3].map(|seed| Signer::from_seed(&[seed; 32]).peer_id());
    let run = run_id(b"id:task-1", 1);
    let matrix =
        BTreeMap::from([("os".to_owned(), "\"linux\"".to_owned()), ("v".to_owned(), "3".to_owned())]);
    let (job, task) = (job_id(&run, "test", &matrix), job_id(&run, "task", &BTreeMap::new()));
    let ids = [2, 1].map(|byte| EventId::from_bytes([byte; 32]));
    let head = clock_head(ids);
    let key = ownership_key(&head, &job);
    let mut text = "hash\tof\tvalue\n".to_owned();
    let mut row = |hash: &str, of: &str, value: String| text.push_str(&format!("{hash}\t{of}\t{value}\n"));
    row("canonical matrix", "os: \"linux\", v: 3", HEXLOWER.encode(&canonical_matrix(&matrix)));
    row("RunId", "id:task-1, attempt 1", run.to_string());
    row("RunId", "id:task-1, attempt 2", run_id(b"id:task-1", 2).to_string());
    row("JobId", "the first run, test, that matrix", job.to_string());
    row("JobId", "the first run, task, no matrix", task.to_string());
    row("clock head", "no event", HEXLOWER.encode(&clock_head([])));
    row("clock head", "32 times 02, 32 times 01", HEXLOWER.encode(&head));
    row("ownership key", "that head, the first job", HEXLOWER.encode(&key));
    row("duty key", "scan, example/widgets", HEXLOWER.encode(&duty_key("scan", "example/widgets")));
    for (seed, peer) in (1..).zip(&peers) {
        row("PeerId", &format!("seed 32 times {seed:02x}"), peer.to_string());
        for index in [0, 1, 63] {
            let point = peer_point(peer, index);
            row(&format!("point {index}"), &format!("peer {seed}"), HEXLOWER.encode(&point));
            let distance = hamming_distance(&key, &point);
            row("distance", &format!("the key and that point {index}"), distance.to_string());
        }
        row("tie hash", &format!("the key, peer {seed}"), HEXLOWER.encode(&tie_break(&key, peer)));
    }
    text
}

#[test]
fn hashes_outside_frames_are_what_they_were() {
    let path = folder().join("hashes.tsv");
    if writing() && !path.exists() {
        fs::write(&path, hashes()).unwrap();
    }
    let committed = fs::read_to_string(path).expect("golden/v1/hashes.tsv is committed");
    assert_eq!(hashes(), committed);
}

#[test]
fn every_file_is_what_the_index_says() {
    let (mut index, committed) = (index(), committed());
    for (file, bytes) in &committed {
        let rows = index.remove(file).unwrap_or_else(|| panic!("{file} is missing from the index"));
        assert_eq!(observe(bytes), rows, "{file}");
    }
    assert!(index.is_empty(), "in the index and not in the folder: {:?}", index.keys());
}

#[test]
fn every_kind_has_a_file_of_its_own() {
    let committed = committed();
    let mut numbers = BTreeSet::new();
    for kind in Kind::ALL {
        let file = format!("{}.frame", kind.name().unwrap());
        let bytes = committed.get(&file).unwrap_or_else(|| panic!("{kind} has no golden file {file}"));
        let frame = read(bytes).unwrap();
        let [(_, event)] = frame.events() else { panic!("{file} holds one event") };
        assert_eq!(event.kind, *kind);
        assert_eq!(body_word(event.kind, &event.body), "ok");
        assert!(numbers.insert(event.kind));
    }
}

#[test]
fn good_files_encode_to_their_own_bytes() {
    let mut good = 0;
    for (file, bytes) in committed() {
        let Ok(frame) = read(&bytes) else { continue };
        good += 1;
        assert_eq!(&frame.bytes()[..], bytes, "{file}");
        let by_hand = RawFrame::of(&frame);
        assert_eq!(by_hand.encode(), bytes, "{file}: the writer made after SPEC.md disagrees");
        let ids: Vec<[u8; 32]> = frame.events().iter().map(|(id, _)| *id.as_bytes()).collect();
        assert_eq!(by_hand.ids(), ids, "{file}: ids computed after SPEC.md disagree");

        let header = frame.header();
        let parents = frame.events()[0].1.parents.clone();
        let mut again =
            FrameBuilder::new(Some(header.cluster), header.chain, header.first_seq, header.prev, parents);
        for (_, event) in frame.events() {
            let (refs, blobs) = (event.refs.clone(), event.blobs.clone());
            again.push(event.height, event.time_ms, refs, blobs, event.kind, event.body.clone());
            let body = Body::decode(event.kind, &event.body);
            if let Ok(encoded) = body.encode() {
                assert_eq!(encoded, (event.kind, event.body.clone()), "{file}");
            }
        }
        let signer = (1..=4)
            .map(|seed| Signer::from_seed(&[seed; 32]))
            .find(|signer| signer.peer_id() == header.chain.author)
            .expect("an author of the story");
        assert_eq!(&again.sign(&signer).unwrap().bytes()[..], bytes, "{file}");
    }
    assert!(good > Kind::ALL.len());
}

#[test]
fn the_good_files_are_one_log_in_the_order_of_the_index() {
    let text = fs::read_to_string(folder().join("index.tsv")).unwrap();
    let mut files: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    files.dedup();
    let committed = committed();
    let mut heights = BTreeMap::new();
    let mut cluster = None;
    for file in files {
        let Ok(frame) = read(&committed[file]) else { continue };
        assert_eq!(*cluster.get_or_insert(frame.header().cluster), frame.header().cluster, "{file}");
        for (id, event) in frame.events() {
            let below = event.dependencies().map(|id| {
                *heights.get(&id).unwrap_or_else(|| panic!("{file} names {id}, which comes later or never"))
            });
            assert_eq!(event.height, 1 + below.max().unwrap_or(0), "{file}");
            heights.insert(*id, event.height);
        }
    }
}

#[test]
fn the_proofs_of_forks_prove_them_whichever_header_stands_first() {
    let committed = committed();
    let proofs = ["ForkProved", "ForkProved-signed-twice", "ForkProved-not-linked"].map(|name| {
        let frame = read(&committed[&format!("{name}.frame")]).unwrap();
        let event = &frame.events()[0].1;
        let Body::ForkProved(proof) = Body::decode(event.kind, &event.body) else { panic!("{name}") };
        proof
    });
    for proof in &proofs {
        assert_eq!((proof.first.verify(), proof.second.verify()), (Ok(()), Ok(())));
        assert_eq!(fork_between(&proof.first, &proof.second), Some(3));
        assert_eq!(fork_between(&proof.second, &proof.first), Some(3));
        assert_eq!(fork_between(&proof.first, &proof.first), None);
    }
    let [_, twice, _] = &proofs;
    assert_eq!(twice.first.header, twice.second.header, "one frame, signed twice");
}

/// The bodies with the most fields, put down after SPEC.md, section 9.
#[test]
fn bodies_stand_in_the_order_of_the_specification() {
    let committed = committed();
    let event = |name: &str| {
        let frame = read(&committed[&format!("{name}.frame")]).unwrap();
        let (id, event) = frame.events()[0].clone();
        (*id.as_bytes(), event.body)
    };
    let text = |text: &str| {
        let len = u8::try_from(text.len()).ok().filter(|len| *len < 128).expect("one byte of length");
        [&[len], text.as_bytes()].concat()
    };
    let blob = |text: &str| sha256(text.as_bytes()).to_vec();
    let run = *run_id(b"path:.github/workflows/build.yml@1", 1).as_bytes();
    let submitted = [
        text("path:.github/workflows/build.yml@1"),
        vec![1],
        text("build"),
        [vec![0], text(".github/workflows/build.yml"), blob("on: push")].concat(),
        [vec![2], text("./.github/workflows/lint.yml"), blob("lint")].concat(),
        [text("example/shared/.github/workflows/publish.yml@v1"), blob("publish")].concat(),
        [vec![2], text("test"), text("publish"), vec![1]].concat(),
        [text("push"), text("{\"forced\":false}"), vec![0]].concat(),
        [vec![1], text("level"), text("\"debug\""), vec![1], text("WFENGINE"), text("true")].concat(),
        [text("alice"), text("example/widgets"), text("refs/heads/main")].concat(),
        [text("0123456789abcdef0123456789abcdef01234567"), vec![7]].concat(),
        [vec![1], text("p2p-eligible"), text("")].concat(),
        // priority 3000, by rule, from discovery, 2 retries, 1000 to 60000 ms, no attempt before
        vec![0xb8, 0x17, 0, 1, 2, 0xe8, 0x07, 0xe0, 0xd4, 0x03, 0],
    ];
    assert_eq!(HEXLOWER.encode(&event("RunSubmitted").1), HEXLOWER.encode(&submitted.concat()));

    let matrix = |v: &str| [vec![2], text("os"), text("\"linux\""), text("v"), text(v)].concat();
    let labels = [vec![2], text("linux"), text("x64")].concat();
    let planned = [
        [run, event("RunSubmitted").0].concat(),
        vec![1, 0, 2],
        // skipped: no, two at once, failing fast, two legs
        [text("test"), vec![0, 0, 1, 2, 1, 2]].concat(),
        [text("test (linux, 3)"), matrix("3"), labels.clone(), vec![0, 0xe8, 0x02, 0]].concat(),
        [text("test (linux, 4)"), matrix("4"), labels.clone(), vec![0, 0xe8, 0x02, 0]].concat(),
        [text("publish"), vec![1], text("test"), vec![1], text("if: false"), vec![0, 0, 1]].concat(),
        [text("publish"), vec![0], labels, vec![1], text("release"), vec![0xe8, 0x02, 0]].concat(),
    ];
    assert_eq!(HEXLOWER.encode(&event("JobsPlanned").1), HEXLOWER.encode(&planned.concat()));

    let values = [("os", "\"linux\""), ("v", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let job = *job_id(&run_id(b"path:.github/workflows/build.yml@1", 1), "test", &values.into()).as_bytes();
    let completed = [
        [run, job, event("JobClaimed").0].concat(),
        [vec![1, 2], text("digest"), text("abc"), text("size"), text("12")].concat(),
        [text(""), vec![1], blob("log"), vec![3], vec![1], blob("summary")].concat(),
        [vec![2], text("coverage"), blob("coverage"), vec![8]].concat(),
        [text("packages"), blob("packages"), vec![0x80, 0x80, 0x80, 0x80, 0x20]].concat(),
        vec![0xa0, 0x9c, 0x01],
        [vec![1], text("output `token` was dropped: it holds a masked value")].concat(),
    ];
    assert_eq!(HEXLOWER.encode(&event("JobCompleted").1), HEXLOWER.encode(&completed.concat()));

    let labels = [vec![3], text("self-hosted"), text("linux"), text("x64")].concat();
    let pool = [
        [text("default"), vec![1], text("github.com")].concat(),
        [vec![2], text("example"), text("octo/hello"), labels.clone()].concat(),
        // at most 10 here, no bound in the cluster, 2 idle, every 120 000 ms
        vec![10, 0, 2, 0xc0, 0xa9, 0x07],
        text("{\"image\":\"ghcr.io/actions/actions-runner\",\"memory\":4294967296}"),
    ];
    assert_eq!(HEXLOWER.encode(&event("PoolChanged").1), HEXLOWER.encode(&pool.concat()));
    let ran = [text("example/widgets"), vec![0xea, 0xc2, 0xc1, 0x0e, 0x90, 0x94, 0xbc, 0xbe, 0x01]].concat();
    let intended = [
        [text("default"), text("wfengine-default-1a2b3c4d"), text("github.com")].concat(),
        [text("example/widgets"), labels, vec![0], ran.clone()].concat(),
    ];
    assert_eq!(HEXLOWER.encode(&event("RunnerIntended").1), HEXLOWER.encode(&intended.concat()));
    let intent = event("RunnerIntended").0.to_vec();
    // it ended by itself, with code -1
    let exited = [intent.clone(), vec![0, 1, 1], blob("printed"), vec![1], ran];
    assert_eq!(HEXLOWER.encode(&event("RunnerExited").1), HEXLOWER.encode(&exited.concat()));
    assert_eq!(HEXLOWER.encode(&event("RunnerRemoved").1), HEXLOWER.encode(&intent));
}

#[test]
fn the_limits_are_those_of_the_specification() {
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SPEC.md")).unwrap();
    let limits = [
        ("FRAME_EVENTS_MAX", limits::FRAME_EVENTS_MAX as u64),
        ("FRAME_BYTES_MAX", limits::FRAME_BYTES_MAX as u64),
        ("EVENT_BYTES_MAX", limits::EVENT_BYTES_MAX as u64),
        ("PARENTS_MAX", limits::PARENTS_MAX as u64),
        ("REFS_MAX", limits::REFS_MAX as u64),
        ("BLOBS_MAX", limits::BLOBS_MAX as u64),
        ("HEIGHT_MAX", limits::HEIGHT_MAX),
        ("NAME_BYTES_MAX", limits::NAME_BYTES_MAX as u64),
        ("TEXT_BYTES_MAX", limits::TEXT_BYTES_MAX as u64),
        ("JSON_BYTES_MAX", limits::JSON_BYTES_MAX as u64),
        ("LIST_LEN_MAX", limits::LIST_LEN_MAX as u64),
        ("CUTS_MAX", limits::CUTS_MAX as u64),
        ("RUNNER_LABELS_MAX", limits::RUNNER_LABELS_MAX as u64),
        ("POLICY_BYTES_MAX", limits::POLICY_BYTES_MAX as u64),
        ("TRIGGER_KEY_BYTES_MAX", limits::TRIGGER_KEY_BYTES_MAX as u64),
        ("WEIGHT_MAX", u64::from(limits::WEIGHT_MAX)),
        ("PRIORITY_MILLI_MAX", u64::from(limits::PRIORITY_MILLI_MAX)),
        ("MEMBERS_MAX", limits::MEMBERS_MAX as u64),
        ("CLAIMS_PER_AUTHOR_MAX", limits::CLAIMS_PER_AUTHOR_MAX as u64),
        ("EPOCHS_MAX", u64::from(limits::EPOCHS_MAX)),
        ("SEGMENT_FRAMES_MAX", limits::SEGMENT_FRAMES_MAX as u64),
        ("SEGMENT_BYTES_MAX", limits::SEGMENT_BYTES_MAX as u64),
    ];
    for (name, value) in limits {
        let row = format!("| `{name}` | {value} |");
        assert!(spec.contains(&row), "SPEC.md, section 12, has no row that begins {row:?}");
    }
}

#[test]
fn the_specification_speaks_of_every_kind_and_shows_a_true_example() {
    let spec = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("SPEC.md")).unwrap();
    for kind in Kind::ALL {
        let heading = format!("`0x{:04x}` {}", kind.number(), kind.name().unwrap());
        assert!(spec.contains(&heading), "SPEC.md has no section {heading:?}");
    }
    let example = spec.split("<!-- example: ClusterFounded.frame -->").nth(1).expect("the worked example");
    let lines = example.lines().skip_while(|line| !line.starts_with("```")).skip(1);
    let hex: String = lines
        .take_while(|line| !line.starts_with("```"))
        .map(|line| line.get(..24).unwrap_or(line).replace(' ', ""))
        .collect();
    let bytes = HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal digits");
    assert_eq!(bytes, committed()["ClusterFounded.frame"]);
}
