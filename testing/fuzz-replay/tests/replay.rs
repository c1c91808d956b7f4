//! Every target holds on its corpus, on what is cut off from it, and on a fixed set of mutations.

use std::collections::BTreeSet;
use std::path::Path;

use portolan_fuzz_replay::{TARGETS, inputs, mutate};

const TRUNCATIONS: usize = 100;
const MUTATIONS: u64 = 2000;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn targets_hold_on_their_corpus_and_near_it() {
    for target in TARGETS {
        let inputs = inputs(root(), target).unwrap();
        assert!(!inputs.is_empty(), "{} has neither a corpus nor examples", target.name);
        for input in &inputs {
            (target.run)(input);
            mutate::truncations(input, TRUNCATIONS).for_each(target.run);
        }
        for seed in 0..MUTATIONS {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (one, other) = (&inputs[rng.usize(0..inputs.len())], &inputs[rng.usize(0..inputs.len())]);
            (target.run)(&mutate::mutate(&mut rng, one, other));
        }
    }
}

#[test]
fn every_target_has_its_binary_and_the_other_way_round() {
    let manifest = std::fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let binaries = manifest["bin"].as_array().unwrap().iter();
    let binaries: BTreeSet<&str> = binaries.map(|binary| binary["name"].as_str().unwrap()).collect();
    let table: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(binaries, table);
    assert_eq!(table.len(), TARGETS.len(), "two targets of one name");
}

#[test]
fn every_corpus_has_a_target() {
    let folders = std::fs::read_dir(root().join("fuzz/corpus")).unwrap();
    for folder in folders.map(|folder| folder.unwrap()) {
        let name = folder.file_name().into_string().unwrap();
        assert!(portolan_fuzz_replay::find(&name).is_some(), "fuzz/corpus/{name} belongs to no target");
    }
}
