//! "Did you mean": the word that somebody most likely wanted to write.

/// A word longer than this resembles none of ours; comparing it would only cost time.
const LONGEST_WORD: usize = 40;

/// The one of `candidates` that `word` is closest to, if it is close: another case, `-` for `_`,
/// or one letter in three wrong.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = normalised(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &normalised(candidate)), candidate))
        .filter(|&(distance, candidate)| distance <= candidate.len().div_ceil(3))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

fn normalised(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let words = ["interfaces", "interval", "vip", "fall", "flow_capacity"];
        for (word, meant) in [
            ("interface", Some("interfaces")),
            ("Interval", Some("interval")),
            ("intreval", Some("interval")),
            ("flow-capacity", Some("flow_capacity")),
            ("VIP", Some("vip")),
            ("vpi", Some("vip")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(word, words), meant, "{word}");
        }
        assert_eq!(closest(&"interval".repeat(1000), words), None);
    }
}
