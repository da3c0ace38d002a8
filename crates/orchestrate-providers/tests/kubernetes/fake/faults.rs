//! What the API server does wrong on purpose.

use hyper::Method;

#[derive(Clone, Debug)]
pub struct Fault {
    pub method: Method,
    /// A part of path and query.
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
}

impl Answer {
    pub const fn status(code: u16, reason: &'static str, message: &'static str) -> Self {
        Self::Status { code, reason, message, retry_after: None }
    }
}

/// The fault that this request meets, if any; it is used up.
pub fn met(faults: &mut Vec<Fault>, method: &Method, path: &str) -> Option<Answer> {
    let index = faults.iter().position(|fault| fault.method == *method && path.contains(fault.path))?;
    let answer = faults[index].answer.clone();
    faults[index].times -= 1;
    if faults[index].times == 0 {
        faults.remove(index);
    }
    Some(answer)
}
