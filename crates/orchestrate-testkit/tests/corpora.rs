//! What people type and what programs tell each other, seed by seed of `fuzz/corpus/`. Core cannot have this itself: what replays
//! a corpus is here.

use orchestrate_core::fuzzing::{messages, words};
use orchestrate_testkit::replay;

#[test]
fn every_word_is_refused_or_reads_back() {
    replay("words", words);
}

#[test]
fn every_message_is_refused_or_reads_back() {
    replay("messages", messages);
}
