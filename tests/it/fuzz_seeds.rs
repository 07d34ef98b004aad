//! What the fuzzers begin with goes through their targets, so that those are right on any compiler.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

use rollcall::dns::Reply;

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

/// By the name of its file: what it says, to one of those who may hear it.
#[test]
fn every_seed_of_a_dns_answer_is_understood() {
    let seeds = seeds("dns");
    assert!(seeds.len() >= 8, "{} seeds", seeds.len());
    for (file, answer) in seeds {
        let said = targets::dns(&answer);
        let expected: fn(&Reply) -> bool = match file.rsplit('/').next().unwrap() {
            name if name.starts_with("records") => |reply| *reply == Reply::Records,
            name if name.starts_with("alias") => |reply| matches!(reply, Reply::Alias(_)),
            name if name.starts_with("no-data") => |reply| matches!(reply, Reply::NoData(_)),
            name if name.starts_with("nx-domain") => |reply| matches!(reply, Reply::NxDomain(_)),
            name if name.starts_with("referral") => |reply| matches!(reply, Reply::Referral(_)),
            name => panic!("what does {name} say?"),
        };
        assert!(said.iter().flatten().any(expected), "{file}: {said:?}");
        // cut anywhere it is understood no more
        assert!(targets::dns(&answer[..answer.len() - 12]).iter().all(Result::is_err), "{file}");
    }
}
