//! What the fuzzers begin with goes through their targets, so that those are right on any compiler.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

fn seeds(of: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(of);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
}

/// The seeds are xmlsec1's work: its signatures and encryption are understood.
#[test]
fn every_seed_of_a_response_signs_in_the_person_it_names() {
    let seeds = seeds("response");
    assert!(seeds.len() >= 9, "{} seeds", seeds.len());
    for (file, mut response) in seeds {
        assert_eq!(targets::response(&response), Ok(()), "{file}");
        // one character of the last attribute or ciphertext
        let end = response.windows(6).rposition(|six| six == b"Value>").unwrap();
        let start = response[..end].iter().rposition(|byte| *byte == b'<').unwrap();
        let changed = &mut response[start - 10];
        *changed = if *changed == b'A' { b'B' } else { b'A' };
        assert!(targets::response(&response).is_err(), "{file}");
    }
}

#[test]
fn every_seed_of_metadata_is_read() {
    for (file, metadata) in seeds("metadata") {
        assert_eq!(targets::metadata(&metadata), Ok(()), "{file}");
    }
}

/// Their names begin with the status that they are answered with.
#[test]
fn every_seed_of_scim_is_answered() {
    let seeds = seeds("scim");
    assert!(seeds.len() >= 21, "{} seeds", seeds.len());
    for (file, input) in seeds {
        let name = Path::new(&file).file_name().unwrap().to_string_lossy();
        let status = targets::scim(&input).unwrap();
        assert!(name.starts_with(status.as_str()), "{name}: {status}");
    }
}
