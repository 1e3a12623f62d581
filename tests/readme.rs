//! The README's commands print what the README says.

#[test]
fn commands_in_the_readme_print_what_it_shows() {
    trycmd::TestCases::new().case("README.md");
}
