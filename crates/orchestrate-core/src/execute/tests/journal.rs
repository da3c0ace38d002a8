//! Properties of the fold of a journal.

use proptest::prelude::{ProptestConfig, Strategy as _, any, prop};
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

/// A journal as an executor may write it: each number picks one of the events that may follow, of one of the steps.
fn legal(choices: &[(usize, usize)], steps: usize) -> Vec<Entry> {
    let mut states = vec![StepState::Pending; steps];
    let mut entries = Vec::new();
    for (step, choice) in choices.iter().map(|(step, choice)| (step % steps, choice)) {
        let next = StepEvent::ALL.into_iter().filter_map(|event| Some((event, states[step].after(event)?)));
        let next: Vec<_> = next.collect();
        if let Some((event, state)) = (!next.is_empty()).then(|| next[choice % next.len()]) {
            states[step] = state;
            entries.push(entry(step, event));
        }
    }
    entries
}

fn entry(step: usize, event: StepEvent) -> Entry {
    Entry { step, event, detail: None, at: Timestamp::from_millis(0) }
}

fn choices() -> impl proptest::strategy::Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..6usize, 0..6usize), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A crash may end a journal anywhere.
    #[test]
    fn every_beginning_of_a_legal_journal_is_one(choices in choices(), steps in 1..6usize) {
        let entries = legal(&choices, steps);
        let mut before = vec![StepState::Pending; steps];
        for end in 0..=entries.len() {
            let states = fold(steps, &entries[..end]).unwrap();
            let changed = (0..steps).filter(|step| states[*step] != before[*step]).collect::<Vec<_>>();
            prop_assert!(changed.iter().all(|step| *step == entries[end - 1].step), "{changed:?}");
            before = states;
        }
    }

    /// Whoever resumes begins again what was begun, and no more: an end is written once.
    #[test]
    fn only_a_beginning_may_be_repeated_and_it_changes_nothing(choices in choices(), steps in 1..6usize) {
        let mut entries = legal(&choices, steps);
        let Some(last) = entries.last().cloned() else { return Ok(()) };
        let states = fold(steps, &entries).unwrap();
        entries.push(last.clone());
        match last.event {
            StepEvent::Started | StepEvent::UndoStarted => prop_assert_eq!(fold(steps, &entries), Ok(states)),
            StepEvent::Done | StepEvent::Failed | StepEvent::Undone | StepEvent::UndoFailed => {
                let (step, state) = (last.step, states[last.step]);
                prop_assert_eq!(fold(steps, &entries), Err(IllegalEvent { step, state, event: last.event }));
            }
        }
    }

    /// Wherever an operation stands, all that it began can be undone, in any order, and nothing can be done after that.
    #[test]
    fn whatever_was_begun_can_be_undone_for_good(choices in choices(), steps in 1..6usize, from_the_end in any::<bool>()) {
        let mut entries = legal(&choices, steps);
        let states = fold(steps, &entries).unwrap();
        let mut begun: Vec<usize> =
            (0..steps).filter(|step| !matches!(states[*step], StepState::Pending | StepState::Undone)).collect();
        if from_the_end {
            begun.reverse();
        }
        for step in begun {
            entries.extend([entry(step, StepEvent::UndoStarted), entry(step, StepEvent::Undone)]);
        }
        let states = fold(steps, &entries).unwrap();
        prop_assert!(states.iter().all(|state| matches!(state, StepState::Pending | StepState::Undone)));
        for (step, _) in states.iter().enumerate().filter(|(_, state)| **state == StepState::Undone) {
            for event in StepEvent::ALL {
                let more = [&entries[..], &[entry(step, event)]].concat();
                prop_assert!(fold(steps, &more).is_err(), "{event:?} after an undo");
            }
        }
    }

    /// Steps do not see one another: only the order within each matters.
    #[test]
    fn the_order_between_steps_does_not_matter(choices in choices(), steps in 1..6usize) {
        let entries = legal(&choices, steps);
        let mut sorted = entries.clone();
        sorted.sort_by_key(|entry| entry.step);
        prop_assert_eq!(fold(steps, &sorted), fold(steps, &entries));
    }
}
