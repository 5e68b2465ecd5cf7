//! The reader of objects: whatever is written never makes it panic, and what it takes, it writes and takes again the same.

use routenet_core::model::yaml::{object_to_yaml, read_documents, render_errors};

/// How many objects were taken.
pub fn run(data: &[u8]) -> usize {
    let text = String::from_utf8_lossy(data);
    let objects = match read_documents("fuzz.yaml", &text) {
        Ok(objects) => objects,
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            let said = render_errors(&errors);
            assert!(said.contains("fuzz.yaml"), "an error without its place: {said}");
            return 0;
        }
    };
    for object in &objects {
        let written = object_to_yaml(&object.value);
        let again = read_documents("again.yaml", &written)
            .unwrap_or_else(|errors| panic!("{}\nof\n{written}\nof\n{text}", render_errors(&errors)));
        let same = matches!(again.as_slice(), [one] if one.value == object.value);
        assert!(same, "{:?}\nis read again as\n{again:?}\nof\n{written}", object.value);
    }
    objects.len()
}
