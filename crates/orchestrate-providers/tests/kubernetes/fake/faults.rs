//! What the API server does wrong on purpose.

use hyper::Method;

#[derive(Clone, Debug)]
pub struct Fault {
    pub method: Method,
    /// Parts of path and query, with `*` between them.
    pub path: &'static str,
    pub times: usize,
    pub answer: Answer,
}

#[derive(Clone, Debug)]
pub enum Answer {
    /// Nothing is done.
    Status { code: u16, reason: &'static str, message: &'static str, retry_after: Option<u32> },
    /// Nothing is done, and the connection ends.
    Cut,
    /// It is done, and the connection ends.
    Lost,
    /// Somebody else writes the object in the moment before.
    Raced,
    /// A watch comes about and goes on for ever, and all that is told is an error with this code.
    Event(u16),
    /// A watch comes about, and its connection ends in the middle of an event.
    Half,
}

impl Answer {
    pub const fn status(code: u16, reason: &'static str, message: &'static str) -> Self {
        Self::Status { code, reason, message, retry_after: None }
    }
}

/// The fault that this request meets, if any; it is used up.
pub fn met(faults: &mut Vec<Fault>, method: &Method, path: &str) -> Option<Answer> {
    let index = faults
        .iter()
        .position(|fault| fault.method == *method && fault.path.split('*').all(|part| path.contains(part)))?;
    let answer = faults[index].answer.clone();
    faults[index].times -= 1;
    if faults[index].times == 0 {
        faults.remove(index);
    }
    Some(answer)
}
