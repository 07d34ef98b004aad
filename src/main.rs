fn main() {
    print!("{}", rollcall::api::crds_yaml())
}
