//! Properties of the fold of a journal.

use proptest::prelude::{ProptestConfig, Strategy as _, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};

use crate::execute::journal::{Entry, IllegalEvent, StepEvent, StepState, fold};
use crate::time::Timestamp;

fn entries() -> impl proptest::strategy::Strategy<Value = Vec<Entry>> {
    let entry = (0..6usize, prop::sample::select(&StepEvent::ALL[..]));
    let entry =
        entry.prop_map(|(step, event)| Entry { step, event, detail: None, at: Timestamp::from_millis(0) });
    prop::collection::vec(entry, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_fold_never_panics_and_an_illegal_event_is_an_error(entries in entries(), steps in 0..6usize) {
        // The first event that cannot follow, found by hand.
        let mut states = vec![StepState::Pending; steps];
        let mut illegal = None;
        for Entry { step, event, .. } in &entries {
            let state = states.get(*step).copied();
            match state.and_then(|state| state.after(*event)) {
                Some(next) => states[*step] = next,
                None => {
                    let state = state.unwrap_or(StepState::Pending);
                    illegal = Some(IllegalEvent { step: *step, state, event: *event });
                    break;
                }
            }
        }
        prop_assert_eq!(fold(steps, &entries), illegal.map_or(Ok(states), Err));
    }

    #[test]
    fn what_was_undone_stays_undone_and_only_what_was_started_is_done(entries in entries()) {
        let legal = (0..=entries.len()).rev().find_map(|end| fold(6, &entries[..end]).ok().map(|s| (end, s)));
        let (end, states) = legal.unwrap();
        for (step, state) in states.iter().enumerate() {
            let of = |event| entries[..end].iter().any(|entry| entry.step == step && entry.event == event);
            match state {
                StepState::Pending => prop_assert!(entries[..end].iter().all(|entry| entry.step != step)),
                StepState::Done => prop_assert!(of(StepEvent::Started) && of(StepEvent::Done)),
                StepState::Undone => prop_assert!(of(StepEvent::UndoStarted) && of(StepEvent::Undone)),
                StepState::Started | StepState::Failed | StepState::Undoing | StepState::Stuck => {
                    prop_assert!(of(StepEvent::Started));
                }
            }
        }
    }
}
