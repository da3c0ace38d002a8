//! Progress on stderr: a spinner on a terminal, plain lines in a pipe.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use orchestrate_core::plan::Step;
use orchestrate_core::ports::Progress;
use orchestrate_core::time::Span;

use crate::printer::Printer;

pub struct StepProgress {
    printer: Printer,
    spinner: Mutex<Option<ProgressBar>>,
}

impl StepProgress {
    pub fn new(printer: &Printer) -> Self {
        Self { printer: printer.clone(), spinner: Mutex::new(None) }
    }

    fn end_spinner(&self) {
        if let Some(spinner) = self.spinner.lock().unwrap_or_else(PoisonError::into_inner).take() {
            spinner.finish_and_clear();
        }
    }

    /// Shows that something goes on that is not a step.
    pub fn waiting(&self, text: &str) {
        self.end_spinner();
        if self.printer.animated() {
            let spinner = ProgressBar::new_spinner().with_message(text.to_owned());
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(100));
            *self.spinner.lock().unwrap_or_else(PoisonError::into_inner) = Some(spinner);
        } else {
            self.printer.progress(&format!("  {text} …"));
        }
    }

    pub fn finished(&self) {
        self.end_spinner();
    }
}

impl Progress for StepProgress {
    fn started(&self, step: &Step) {
        // A switch is over before a spinner would be seen.
        if self.printer.animated() && !matches!(step, Step::SwitchTraffic(_) | Step::ProveLive(_)) {
            self.waiting(&step.to_string());
        } else if self.printer.verbose {
            self.printer.progress(&format!("  {step} …"));
        }
    }

    fn done(&self, step: &Step, took: Span) {
        self.end_spinner();
        self.printer.progress(&format!("  {step} ({})", crate::printer::took(took.as_millis())));
    }

    fn remark(&self, text: &str) {
        self.end_spinner();
        self.printer.progress(&format!("  {text}"));
    }
}

impl Drop for StepProgress {
    fn drop(&mut self) {
        self.end_spinner();
    }
}
