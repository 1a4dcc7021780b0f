//! Words of the coordinator's dialect.

use super::{STATUSES, status_word};

#[test]
fn two_words_of_ours_are_none_of_this_dialect() {
    assert_eq!((status_word("skipped"), status_word("expired")), ("completed", "failed"));
    assert!(STATUSES.iter().all(|word| status_word(word) == *word));
}
