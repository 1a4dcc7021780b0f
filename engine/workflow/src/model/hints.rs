//! What is valid and probably not meant: said to people, decides nothing.

use super::{Job, Step, StepAction};
use crate::{
    diagnostic::Diagnostics,
    reader::{Node, NodeKind},
    template::Condition,
};

/// Numbers that lose digits: `3.10` is 3.1 to GitHub.
pub(super) fn of_numbers(node: &Node, hints: &mut Diagnostics<'_>) {
    match &node.kind {
        NodeKind::Number(_, written) => {
            let read = node.text().unwrap_or_default();
            if read != *written {
                let message = format!("the number {written} is read as {read}");
                hints.add(node.at, message, format!("'{written}' in quotes, if the text is meant"));
            }
        }
        NodeKind::Sequence(items) => items.iter().for_each(|item| of_numbers(item, hints)),
        NodeKind::Mapping(entries) => entries.iter().for_each(|(_, value)| of_numbers(value, hints)),
        NodeKind::Null | NodeKind::Bool(_) | NodeKind::Text(_) => {}
    }
}

/// Conditions that are text around an expression, and so always true.
pub(super) fn of_conditions(jobs: &[Job], hints: &mut Diagnostics<'_>) {
    for job in jobs {
        of_condition(job.condition.as_ref(), hints);
        of_steps(&job.steps, hints);
    }
}

fn of_steps(steps: &[Step], hints: &mut Diagnostics<'_>) {
    for step in steps {
        of_condition(step.condition.as_ref(), hints);
        if let StepAction::Parallel { steps, .. } = &step.action {
            of_steps(steps, hints);
        }
    }
}

fn of_condition(condition: Option<&Condition>, hints: &mut Diagnostics<'_>) {
    if let Some(condition) = condition
        && condition.is_text()
    {
        let message = format!("the condition `{}` is text and always true", condition.source());
        hints.add(condition.at(), message, "the whole condition as one expression");
    }
}

#[cfg(test)]
mod tests {
    use crate::Workflow;

    #[test]
    fn traps_are_pointed_out() {
        let text = "on: push\nenv: {V: 3.10, W: 3.1, X: '3.10'}\njobs:\n  a:\n    runs-on: x\n    if: ${{ true }} && false\n    steps:\n    - {run: x, if: true && false}\n";
        let workflow = Workflow::read(text.as_bytes(), "f.yml").unwrap();
        let hints: Vec<String> = workflow.hints().iter().map(ToString::to_string).collect();
        assert_eq!(
            hints,
            [
                "f.yml:2:10: the number 3.10 is read as 3.1 (expected '3.10' in quotes, if the text is meant)",
                "f.yml:6:9: the condition `${{ true }} && false` is text and always true (expected the whole condition as one expression)",
            ]
        );
    }
}
