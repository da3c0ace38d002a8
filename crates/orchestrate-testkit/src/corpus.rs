//! The corpora of the fuzz targets, for the tests that everybody runs.

/// Runs a target with each seed in `fuzz/corpus/TARGET`; the last one that was named is the one that failed.
#[expect(clippy::print_stdout, reason = "a test shows it only if it fails")]
pub fn replay(target: &str, run: impl Fn(&[u8])) {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/");
    let seeds = std::fs::read_dir(format!("{corpus}{target}")).unwrap();
    let mut seeds: Vec<_> = seeds.map(|seed| seed.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 10, "{} seeds of {target}", seeds.len());
    for seed in seeds {
        println!("{}", seed.display());
        run(&std::fs::read(seed).unwrap());
    }
}
