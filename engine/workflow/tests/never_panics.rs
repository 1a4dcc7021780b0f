//! Whatever stands in a file or an expression, the answer is a value or an error.
//!
//! Files are made by cutting, doubling and replacing lines of a good one, so that most are still YAML and reach the later
//! stages; expressions are made of the language's own pieces.

use std::collections::BTreeMap;

use proptest::prelude::*;
use wfengine_workflow::{
    Contexts, Expression, Frozen, Triggers, Value, Workflow, missing_inputs,
    plan::plan,
    tags,
    triggers::{Changed, Push, on_github},
};

const SEED: &str = include_str!("every_key.yml");

const LINES: &[&str] = &[
    "    needs: [a, b]",
    "    if: ${{ needs.a.result == 'success' && always() }}",
    "    strategy: {matrix: {x: [1, 2], include: [{x: 1, y: 2}], exclude: [{x: 2}]}}",
    "    strategy: {matrix: '${{ fromJSON(needs.a.outputs.m) }}', max-parallel: -1}",
    "    timeout-minutes: -.inf",
    "    runs-on: {labels: [x, '${{ matrix.x }}']}",
    "  a: &x",
    "  <<: *x",
    "  b: *x",
    "      - run: |",
    "\t- tab",
    "# P2P: p2p-only, ,,\"x\"",
    "labels: [p2p_only]",
    "  push: {branches: ['**/[a-z]+?', '!\\\\x'], paths: [a, '!**/b']}",
    "  push: {tags-ignore: ['[', '+', '*+'], paths: []}",
    "  schedule: [{cron: '*/7 1-5/2 * FEB-MAR SUN', timezone: Europe/Berlin}]",
    "  schedule: [{cron: '0 0 31 6 *', timezone: nowhere}]",
    "---",
    "${{ insert }}: 1",
    "? [a]",
    ": &",
];

fn mutated() -> impl Strategy<Value = String> {
    let edit = (0usize..200, 0usize..6, 0usize..LINES.len(), any::<char>());
    proptest::collection::vec(edit, 0..8).prop_map(|edits| {
        let mut lines: Vec<String> = SEED.lines().map(str::to_owned).collect();
        for (at, kind, line, c) in edits {
            let at = at % lines.len().max(1);
            match kind {
                0 if !lines.is_empty() => drop(lines.remove(at)),
                1 => lines.insert(at, LINES[line].to_owned()),
                2 if !lines.is_empty() => lines.insert(at, lines[at].clone()),
                3 if !lines.is_empty() => lines[at].push(c),
                4 if !lines.is_empty() => lines[at].insert(0, ' '),
                5 if !lines.is_empty() => lines[at] = LINES[line].to_owned(),
                _ => {}
            }
        }
        lines.join("\n")
    })
}

fn expression() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("github"),
        Just("."),
        Just("*"),
        Just("["),
        Just("]"),
        Just("("),
        Just(")"),
        Just("'a''b'"),
        Just("'{0}{1}'"),
        Just("0x1F"),
        Just("-1e9"),
        Just("!"),
        Just("&&"),
        Just("||"),
        Just("=="),
        Just("<"),
        Just(">="),
        Just(","),
        Just("format"),
        Just("fromJSON"),
        Just("toJSON"),
        Just("join"),
        Just("contains"),
        Just("case"),
        Just("null"),
        Just("true"),
        Just(" "),
        Just("'[1,{\"a\":[]}]'"),
        Just("é"),
        Just("hashFiles"),
        Just("success()"),
    ];
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_the_reader_panic(text in mutated()) {
        match Workflow::read(text.as_bytes(), "f.yml") {
            Ok(workflow) => {
                let _ = (tags::of(&workflow), workflow.unsupported(), workflow.required_programs());
                if let Ok(triggers) = Triggers::of(&workflow) {
                    let changed = ["src/a.rs".to_owned()];
                    let push = Push { git_ref: "refs/heads/a", changed: Changed::Known(&changed) };
                    let _ = triggers.push.as_ref().map(|trigger| trigger.matches(&push));
                    let _ = (on_github(&workflow, &triggers), missing_inputs(&workflow));
                    for schedule in &triggers.schedules {
                        let _ = (schedule.next_due(0), schedule.latest_due(0, 1_700_000_000));
                    }
                }
                let first = plan(&workflow, &Frozen::default(), &BTreeMap::new());
                prop_assert_eq!(&first, &plan(&workflow, &Frozen::default(), &BTreeMap::new()));
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| error.line >= 1 && error.column >= 1), "{:?}", errors);
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Workflow::read(&bytes, "f.yml");
    }

    #[test]
    fn no_expression_makes_the_evaluator_panic(source in expression()) {
        if let Ok(expression) = Expression::parse(&source) {
            let mut contexts = Contexts::new();
            contexts.set("github", Value::from_json(r#"{"a":[1,{"b":"c"}],"event":null}"#).unwrap());
            let _ = expression.evaluate(&contexts);
        }
    }
}

#[test]
fn the_seed_uses_every_key_and_is_valid() {
    let workflow = Workflow::read(SEED.as_bytes(), "every_key.yml").unwrap();
    assert!(workflow.not_valid_on_github().is_empty());
    assert_eq!(workflow.jobs.len(), 3);
}
