//! Selectors: what is read is written in its canonical form, which reads back as the same; and it means what a naive reader
//! says that the text does.

use routenet_core::policy::selector::Selector;

use super::bytes::Bytes;
use super::naive_selector::{Labels, holds};

/// What selectors are made of, beside the fuzzer's own characters.
const TOKENS: [&str; 44] = [
    "a",
    "b",
    "a.b/c-d_e",
    "in",
    "has",
    "all",
    "global",
    "not",
    "contains",
    "'a'",
    "'b'",
    "'ab'",
    "''",
    "\"a\"",
    "\"'\"",
    "(",
    ")",
    "{",
    "}",
    ",",
    "!",
    "!!",
    "&&",
    "||",
    "==",
    "!=",
    " ",
    "  ",
    "\t",
    "\n",
    "has(a)",
    "!has(b)",
    "all()",
    "global()",
    "a == 'a'",
    "b != \"b\"",
    "a in {'a', 'b'}",
    "b not in {'a','b'}",
    "a contains 'a'",
    "a starts with 'a'",
    "b ends  with 'b'",
    "a not  in {}",
    "has( a )",
    "has(all)",
];

/// Of tokens, or the bytes as they are.
fn text(data: &[u8]) -> String {
    let mut bytes = Bytes::new(data);
    if bytes.below(4) == 0 {
        return String::from_utf8_lossy(bytes.rest()).into_owned();
    }
    let mut text = String::new();
    while !bytes.is_empty() {
        text.push_str(bytes.one(&TOKENS));
        if !bytes.is_empty() && bytes.rarely(3) {
            text.push(' ');
        }
    }
    text
}

/// Whether it was a selector.
pub fn run(data: &[u8]) -> bool {
    let text = text(data);
    let selector = match Selector::parse(&text) {
        Ok(selector) => selector,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains(char::is_control), "{text:?}: {said:?}");
            return false;
        }
    };
    let canonical = selector.to_string();
    let again = Selector::parse(&canonical).unwrap_or_else(|error| panic!("{text:?} as {canonical:?}: {error}"));
    assert_eq!(again, selector, "{text:?} as {canonical:?}");
    assert_eq!(again.to_string(), canonical, "{text:?}");
    for labels in everybody() {
        let wanted = text.trim().is_empty() || holds(&text, &labels, "");
        let found = selector.matches(&labels);
        assert_eq!(found, wanted, "{text:?} as {canonical:?} on {labels:?}");
        assert_eq!(selector.clone().negated().matches(&labels), !found, "not {canonical:?} on {labels:?}");
        // An index finds subjects by these alone.
        let carries = selector.anchors().is_none_or(|anchors| {
            anchors.iter().any(|anchor| {
                labels.get(&anchor.label).is_some_and(|value| anchor.value.as_ref().is_none_or(|it| it == value))
            })
        });
        assert!(!found || carries, "{canonical:?} matches {labels:?}, which carries none of its anchors");
    }
    true
}

/// Labels of all kinds that the tokens can tell apart.
fn everybody() -> Vec<Labels> {
    let mut all = vec![Labels::new()];
    for label in ["a", "b", "a.b/c-d_e", "in"] {
        let with = |labels: &Labels, value: &str| {
            let mut labels = labels.clone();
            labels.insert(label.to_string(), value.to_string());
            labels
        };
        let more: Vec<Labels> =
            all.iter().flat_map(|labels| ["a", "ab", ""].map(|value| with(labels, value))).collect();
        all.extend(more);
    }
    all
}
