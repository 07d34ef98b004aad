//! What is generated is current: `make crds` writes it.

use expect_test::expect_file;
use rollcall::api;

#[test]
fn crds_are_those_of_the_types() {
    expect_file!["../../crds/crds.yaml"].assert_eq(&api::crds_yaml());
}

#[test]
fn the_chart_has_the_same_crds() {
    expect_file!["../../charts/rollcall/crds/crds.yaml"].assert_eq(&api::crds_yaml());
}

/// Every reason that can appear is explained there.
#[test]
fn the_readme_names_every_reason() {
    let readme = include_str!("../../README.md");
    let missing: Vec<_> = api::conditions::reason::ALL
        .iter()
        .filter(|reason| !readme.contains(&format!("`{reason}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
