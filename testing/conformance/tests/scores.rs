//! The page about other people's suites says what their runs said.

use portolan_conformance::score;

#[test]
fn the_document_says_what_the_scores_say() {
    if let Err(why) = score::hold_document() {
        panic!("{why}");
    }
}
