//! "Did you mean": the nearest of a list of words.

/// The candidate that differs from `word` by the fewest typing errors, if those are few for its length.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(MAX_WORD + 1).flat_map(char::to_lowercase).collect();
    if word.is_empty() || word.len() > MAX_WORD {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| {
            (
                distance(
                    &word,
                    &candidate.chars().flat_map(char::to_lowercase).collect::<Vec<_>>(),
                ),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= tolerated(word.len().min(candidate.len())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Longer words are not misspelt keywords; the comparison is quadratic.
const MAX_WORD: usize = 64;

/// One error in three letters; none in words of one or two.
fn tolerated(length: usize) -> usize {
    length / 3
}

/// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut current = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (last[j] + 1).min(current[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_are_recognised() {
        let known = [
            "max_connections",
            "total_max_connections",
            "idle_timeout",
            "retries",
            "name",
        ];
        for (word, expected) in [
            ("max_conections", Some("max_connections")),
            ("max_connectoins", Some("max_connections")),
            ("Idle_Timeout", Some("idle_timeout")),
            ("idle_time_out", Some("idle_timeout")),
            ("retrys", Some("retries")),
            ("nmae", Some("name")),
            ("colour", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), known), None);
    }
}
