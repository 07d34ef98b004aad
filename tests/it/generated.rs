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
