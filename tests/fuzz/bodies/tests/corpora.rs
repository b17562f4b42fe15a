//! Every target over its corpus, and over a fixed number of mutants of it: always the same ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use signalbox_fuzz::{TARGETS, Target, mutate::mutant};

fn corpus_dir(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(target.name)
}

/// The files of a corpus, in the order of their names.
fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = corpus_dir(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Runs the body; a failure is kept as a file, for libFuzzer and for the corpus.
fn run(target: &Target, bytes: &[u8], what: &str) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.body)(bytes))) else {
        return;
    };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let name = format!("fuzz-{}", target.name);
    fs::write(dir.join(&name), bytes).unwrap();
    eprintln!(
        "{} fails on {what}: {}\nreplay: SIGNALBOX_FUZZ_INPUT={} cargo test -p signalbox-fuzz --test corpora {}",
        target.name,
        String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).escape_debug(),
        dir.join(&name).display(),
        target.name,
    );
    std::panic::resume_unwind(panic);
}

fn try_target(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    if let Some(input) = std::env::var_os("SIGNALBOX_FUZZ_INPUT") {
        return (target.body)(&fs::read(input).unwrap());
    }
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for (path, bytes) in &corpus {
        run(target, bytes, &path.display().to_string());
    }
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, bytes)| bytes).collect();
    let mutations = std::env::var("SIGNALBOX_FUZZ_MUTATIONS").ok();
    let mutations = mutations.map_or(target.mutations.into(), |text| text.parse().unwrap());
    for seed in 0..mutations {
        let bytes = mutant(&corpus, target.tokens, seed);
        run(target, &bytes, &format!("the mutant of seed {seed}"));
    }
}

/// One test for each target.
macro_rules! targets {
    ($($name:ident)+) => {
        $(
            #[test]
            fn $name() {
                try_target(stringify!($name));
            }
        )+

        #[test]
        fn every_target_is_tried_and_can_be_fuzzed() {
            let tried = [$(stringify!($name)),+];
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(tried.as_slice(), known);
            let manifest = include_str!("../../Cargo.toml");
            for name in known {
                let path = format!("path = \"fuzz_targets/{name}.rs\"");
                assert!(manifest.contains(&path), "{name} is no binary of tests/fuzz");
            }
        }
    };
}

targets! {
    certificate certificate_url confirm_answer envelope forwarded intake_log intake_record key proxy_header route
    string_to_sign template
}
