#[expect(dead_code, reason = "wired by the demo command")]
mod demo;

fn main() {}
