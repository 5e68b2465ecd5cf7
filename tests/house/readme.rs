//! The README's table of a node's configuration is the reference of the code, word for word.

use std::fmt::Write;
use std::path::Path;

use routenet_core::model::config::REFERENCE;

const HEADING: &str = "| key | type | default | meaning |\n|---|---|---|---|\n";

#[test]
fn the_table_of_the_configuration_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).expect("README.md");
    let start = text.find(HEADING).expect("the table's heading in README.md") + HEADING.len();
    let end = text[start..].find("\n\n").expect("the table's end") + start + 1;

    let mut wanted = String::new();
    for field in REFERENCE {
        writeln!(wanted, "| `{}` | {} | {} | {} |", field.key, field.type_, field.default, field.doc).expect("a text");
    }
    assert_eq!(text[start..end], wanted, "put these lines into README.md:\n\n{wanted}");
}
