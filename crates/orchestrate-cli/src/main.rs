#[expect(dead_code, reason = "wired by the demo command")]
mod demo;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "wired by the commands that read the config file"))]
mod settings;

fn main() {}
