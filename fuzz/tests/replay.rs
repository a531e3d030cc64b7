//! Every file of every corpus once, on a stable compiler. A bug that a fuzzer found stays here as a file.

use std::{fs, path::Path};

#[test]
fn every_corpus_file_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in weir_fuzz::TARGETS {
        let folder = corpus.join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for path in files.filter_map(Result::ok).map(|entry| entry.path()) {
            println!("{}", path.display());
            run(&fs::read(&path).expect("a corpus file can be read"));
            count += 1;
        }
        assert!(count > 0, "{} has no seeds", folder.display());
    }
}

/// Not a fuzzer, but cheap: seeds with single bytes changed, cut short and doubled.
#[test]
fn small_changes_of_the_seeds_pass_as_well() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in weir_fuzz::TARGETS {
        for path in fs::read_dir(corpus.join(name))
            .expect("a corpus")
            .filter_map(Result::ok)
            .map(|entry| entry.path())
        {
            let seed = fs::read(&path).expect("a corpus file can be read");
            // Some forty places of each seed: this is no fuzzer, and has to end soon.
            for at in (0..seed.len()).step_by(seed.len() / 40 + 1) {
                for value in [0, 1, 3, 4, 0x7f, 0x80, 0xff, seed[at] ^ 0x20] {
                    let mut changed = seed.clone();
                    changed[at] = value;
                    run(&changed);
                }
                run(&seed[..at]);
            }
            run(&seed.repeat(2));
        }
    }
}
