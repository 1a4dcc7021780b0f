//! The graph of `needs`, and ids that must be unique.

use std::collections::BTreeMap;

use wfengine_storage_format::limits::LIST_LEN_MAX;

use super::{Job, Step, StepAction};
use crate::diagnostic::{Diagnostics, near_matches, quoted_list};

/// Reports unknown needs, cycles and repeated step ids; drops needs named twice.
pub(super) fn check(jobs: &mut [Job], diagnostics: &mut Diagnostics<'_>) {
    let ids: Vec<String> = jobs.iter().map(|job| job.id.clone()).collect();
    for job in jobs.iter_mut() {
        let id = job.id.clone();
        for need in &job.needs {
            if !ids.contains(&need.text) {
                let near = quoted_list(near_matches(&need.text, ids.iter().map(String::as_str)));
                let expected = if near.is_empty() { "a job of this workflow".to_owned() } else { near };
                let message = format!("job '{id}' needs '{}', which does not exist", need.text);
                diagnostics.add(need.at, message, expected);
            }
        }
        if job.needs.len() > LIST_LEN_MAX {
            diagnostics.add(
                job.at,
                format!("job '{id}' has {} needs", job.needs.len()),
                format!("at most {LIST_LEN_MAX}"),
            );
        }
        let mut seen = Vec::new();
        job.needs.retain(|need| {
            let new = !seen.contains(&need.text);
            seen.push(need.text.clone());
            new
        });
        check_step_ids(&job.steps, &mut BTreeMap::new(), diagnostics);
    }
    check_cycles(jobs, diagnostics);
}

fn check_step_ids(steps: &[Step], seen: &mut BTreeMap<String, u32>, diagnostics: &mut Diagnostics<'_>) {
    for step in steps {
        if let Some(id) = &step.id
            && let Some(line) = seen.insert(id.text.to_lowercase(), id.at.line)
        {
            let message = format!("the step id '{}' is already used in line {line}", id.text);
            diagnostics.add(id.at, message, "each id once in a job, without regard to case");
        }
        if let StepAction::Parallel { steps, .. } = &step.action {
            check_step_ids(steps, seen, diagnostics);
        }
    }
}

/// Removes jobs whose needs are all removed until nothing changes; what is left is in a cycle or behind one.
fn check_cycles(jobs: &[Job], diagnostics: &mut Diagnostics<'_>) {
    let known = |id: &str| jobs.iter().any(|job| job.id == id);
    let mut left: Vec<&Job> = jobs.iter().collect();
    loop {
        let before = left.len();
        let ids: Vec<&str> = left.iter().map(|job| job.id.as_str()).collect();
        left.retain(|job| {
            job.needs.iter().any(|need| known(&need.text) && ids.contains(&need.text.as_str()))
        });
        if left.len() == before {
            break;
        }
    }
    for job in &left {
        if let Some(path) = cycle_through(job, &left)
            && let Some(need) = job.needs.iter().find(|need| left.iter().any(|job| job.id == need.text))
        {
            diagnostics.add(
                need.at,
                format!("job '{}' waits for itself: {path}", job.id),
                "needs without a cycle",
            );
        }
    }
}

/// `a → b → a`, if there is a way from the job back to it.
fn cycle_through(start: &Job, jobs: &[&Job]) -> Option<String> {
    let mut came_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = vec![start.id.as_str()];
    while let Some(id) = queue.pop() {
        let Some(job) = jobs.iter().find(|job| job.id == id) else { continue };
        for need in &job.needs {
            if need.text == start.id {
                let mut path = vec![start.id.as_str(), id];
                let mut at = id;
                while let Some(before) = came_from.get(at) {
                    path.push(before);
                    at = before;
                }
                if id == start.id {
                    path.truncate(1);
                    path.push(id);
                } else {
                    path.dedup();
                }
                path.reverse();
                return Some(path.join(" → "));
            }
            if !came_from.contains_key(need.text.as_str()) {
                came_from.insert(&need.text, id);
                queue.push(&need.text);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::Workflow;

    fn read(jobs: &[(&str, &str)]) -> Result<Workflow, String> {
        let mut text = "on: push\njobs:\n".to_owned();
        for (id, needs) in jobs {
            text.push_str(&format!("  {id}:\n    needs: [{needs}]\n    runs-on: x\n"));
        }
        Workflow::read(text.as_bytes(), "f.yml")
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn needs_must_be_spelt_like_the_job() {
        let error = read(&[("Build", ""), ("test", "build")]).unwrap_err();
        assert!(error.contains("(expected 'Build')"), "{error}");
        assert_eq!(read(&[("a", ""), ("b", "a, a")]).unwrap().job("b").unwrap().needs.len(), 1);
    }

    #[test]
    fn unknown_needs_name_what_was_meant() {
        let error = read(&[("build", ""), ("test", "biuld")]).unwrap_err();
        assert_eq!(error, "f.yml:7:13: job 'test' needs 'biuld', which does not exist (expected 'build')");
    }

    #[test]
    fn cycles_are_shown_as_a_way() {
        let error = read(&[("a", "c"), ("b", "a"), ("c", "b"), ("d", "a")]).unwrap_err();
        assert!(error.contains("job 'a' waits for itself: a → c → b → a"), "{error}");
        assert!(!error.contains("job 'd'"), "{error}");
        assert!(read(&[("a", "a")]).unwrap_err().contains("a → a"));
    }

    #[test]
    fn step_ids_are_unique_in_their_job() {
        let text = "on: push\njobs:\n  a:\n    runs-on: x\n    steps:\n    - {id: one, run: x}\n    - {id: One, run: x}\n";
        let errors = Workflow::read(text.as_bytes(), "f.yml").unwrap_err();
        assert!(errors[0].to_string().starts_with("f.yml:7:12: the step id 'One' is already used in line 6"));
    }
}
