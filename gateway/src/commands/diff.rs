//! Line by line, what differs between two texts, as `diff -u` shows it. Pure.
//!
//! Invariant: time and memory are bounded; texts that have next to nothing in common are shown as one replaced by the
//! other, which is what they are.

/// Lines around a difference.
const CONTEXT: usize = 3;

/// Differences that are looked for; each costs as many steps as there have been before it.
const MAX_EDITS: usize = 2_000;

/// A line of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line<'t> {
    /// `@@ -3,7 +3,8 @@`
    Place(String),
    /// In both.
    Same(&'t str),
    /// In the first only.
    Removed(&'t str),
    /// In the second only.
    Added(&'t str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Same(usize, usize),
    Removed(usize),
    Added(usize),
}

/// What has to be done to the first text to make it the second; nothing when they are equal.
pub(super) fn unified<'t>(first: &'t str, second: &'t str) -> Vec<Line<'t>> {
    let (a, b): (Vec<&str>, Vec<&str>) = (first.lines().collect(), second.lines().collect());
    let steps = steps(&a, &b);
    let mut result = Vec::new();
    for hunk in hunks(&steps) {
        result.push(Line::Place(place(&steps, &hunk)));
        result.extend(steps[hunk].iter().map(|step| match *step {
            Step::Same(at, _) => Line::Same(a[at]),
            Step::Removed(at) => Line::Removed(a[at]),
            Step::Added(at) => Line::Added(b[at]),
        }));
    }
    result
}

/// All lines of both texts in order.
fn steps(a: &[&str], b: &[&str]) -> Vec<Step> {
    let front = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - front;
    let back = a
        .iter()
        .rev()
        .zip(b.iter().rev())
        .take(rest)
        .take_while(|(a, b)| a == b)
        .count();
    let mut steps: Vec<Step> = (0..front).map(|at| Step::Same(at, at)).collect();
    let (inner_a, inner_b) = (&a[front..a.len() - back], &b[front..b.len() - back]);
    steps.extend(shortest(inner_a, inner_b).into_iter().map(|step| match step {
        Step::Same(x, y) => Step::Same(x + front, y + front),
        Step::Removed(x) => Step::Removed(x + front),
        Step::Added(y) => Step::Added(y + front),
    }));
    steps.extend((0..back).map(|at| Step::Same(a.len() - back + at, b.len() - back + at)));
    steps
}

/// The fewest removals and additions (Myers 1986): how far each diagonal gets with so many of them.
fn shortest(a: &[&str], b: &[&str]) -> Vec<Step> {
    let (n, m) = (a.len() as isize, b.len() as isize);
    let most = (a.len() + b.len()).min(MAX_EDITS) as isize;
    let offset = most + 1;
    let mut reach = vec![0_isize; 2 * offset as usize + 1];
    let mut history = Vec::new();
    for edits in 0..=most {
        history.push(reach[(offset - edits - 1) as usize..=(offset + edits + 1) as usize].to_vec());
        for diagonal in (-edits..=edits).step_by(2) {
            let at = |diagonal: isize| (offset + diagonal) as usize;
            let down = diagonal == -edits || diagonal != edits && reach[at(diagonal - 1)] < reach[at(diagonal + 1)];
            let mut x = if down {
                reach[at(diagonal + 1)]
            } else {
                reach[at(diagonal - 1)] + 1
            };
            let mut y = x - diagonal;
            while x < n && y < m && a[x as usize] == b[y as usize] {
                (x, y) = (x + 1, y + 1);
            }
            reach[at(diagonal)] = x;
            if x >= n && y >= m {
                return retrace(&history, n, m);
            }
        }
    }
    let removed = (0..a.len()).map(Step::Removed);
    removed.chain((0..b.len()).map(Step::Added)).collect()
}

/// The way back from the end, through what was reached before.
fn retrace(history: &[Vec<isize>], mut x: isize, mut y: isize) -> Vec<Step> {
    let mut steps = Vec::new();
    for (edits, reach) in history.iter().enumerate().rev() {
        let edits = edits as isize;
        let at = |diagonal: isize| (diagonal + edits + 1) as usize;
        let diagonal = x - y;
        let down = diagonal == -edits || diagonal != edits && reach[at(diagonal - 1)] < reach[at(diagonal + 1)];
        let before = if down { diagonal + 1 } else { diagonal - 1 };
        let (from_x, from_y) = (reach[at(before)], reach[at(before)] - before);
        let (from_x, from_y) = if edits == 0 { (0, 0) } else { (from_x, from_y) };
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            steps.push(Step::Same(x as usize, y as usize));
        }
        if edits > 0 {
            steps.push(if down {
                Step::Added(from_y as usize)
            } else {
                Step::Removed(from_x as usize)
            });
        }
        (x, y) = (from_x, from_y);
    }
    steps.reverse();
    steps
}

/// Parts around differences; those that touch are one.
fn hunks(steps: &[Step]) -> Vec<std::ops::Range<usize>> {
    let mut hunks: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in steps
        .iter()
        .enumerate()
        .filter(|(_, step)| !matches!(step, Step::Same(..)))
    {
        let range = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(steps.len());
        match hunks.last_mut().filter(|last| last.end >= range.start) {
            Some(last) => last.end = range.end,
            None => hunks.push(range),
        }
    }
    hunks
}

fn place(steps: &[Step], hunk: &std::ops::Range<usize>) -> String {
    let counted = |steps: &[Step]| {
        let old = steps.iter().filter(|step| !matches!(step, Step::Added(_))).count();
        let new = steps.iter().filter(|step| !matches!(step, Step::Removed(_))).count();
        (old, new)
    };
    let (before, inside) = (counted(&steps[..hunk.start]), counted(&steps[hunk.clone()]));
    // A side without lines names the line before.
    let start = |before: usize, count: usize| if count == 0 { before } else { before + 1 };
    format!(
        "@@ -{},{} +{},{} @@",
        start(before.0, inside.0),
        inside.0,
        start(before.1, inside.1),
        inside.1
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(first: &str, second: &str) -> String {
        let lines = unified(first, second).into_iter().map(|line| match line {
            Line::Place(place) => place,
            Line::Same(text) => format!(" {text}"),
            Line::Removed(text) => format!("-{text}"),
            Line::Added(text) => format!("+{text}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn as_diff_shows_it() {
        assert_eq!(shown("a\nb\n", "a\nb\n"), "");
        assert_eq!(shown("a\nb\nc\n", "a\nx\nc\n"), "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c");
        assert_eq!(shown("", "a\n"), "@@ -0,0 +1,1 @@\n+a");
        let (first, second) = ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n");
        assert_eq!(shown(first, second), "@@ -7,3 +7,4 @@\n 7\n 8\n 9\n+10");
    }

    proptest! {
        #[test]
        fn the_steps_make_the_second_of_the_first(a in "[abc\n]{0,40}", b in "[abc\n]{0,40}") {
            let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
            let steps = steps(&a, &b);
            let old: Vec<&str> = steps.iter().filter_map(|step| match *step {
                Step::Same(x, _) | Step::Removed(x) => Some(a[x]),
                Step::Added(_) => None,
            }).collect();
            let new: Vec<&str> = steps.iter().filter_map(|step| match *step {
                Step::Same(_, y) | Step::Added(y) => Some(b[y]),
                Step::Removed(_) => None,
            }).collect();
            prop_assert_eq!(old, a);
            prop_assert_eq!(new, b);
        }
    }
}
