use proptest::prelude::*;

use super::*;

fn one(text: &str) -> Node {
    let (mut documents, error) = parse(text);
    assert_eq!(error, None, "{text}");
    assert_eq!(documents.len(), 1, "{text}");
    documents.remove(0)
}

fn pairs(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        Value::Map(pairs) => pairs,
        other => panic!("no mapping: {other:?}"),
    }
}

#[test]
fn every_value_knows_its_line_and_column() {
    let node = one("# comment\na: 1\nb:\n  - x\n  - c: |\n      long\n      text\n    d: {e: f}\n");
    let top = pairs(&node);
    assert_eq!(top[0].1.mark, Mark { line: 2, column: 4 });
    assert_eq!(top[1].0.mark, Mark { line: 3, column: 1 });
    let Value::List(items) = &top[1].1.value else { panic!("no list") };
    assert_eq!(items[0].mark, Mark { line: 4, column: 5 });
    assert_eq!(pairs(&items[1])[0].0.mark, Mark { line: 5, column: 5 });
    assert_eq!(pairs(&items[1])[1].0.mark, Mark { line: 8, column: 5 });
    assert_eq!(pairs(&pairs(&items[1])[1].1)[0].1.mark, Mark { line: 8, column: 12 });
}

#[test]
fn documents_are_apart_and_empty_ones_are_left_out() {
    let (documents, error) = parse("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n...\n");
    assert_eq!(error, None);
    assert_eq!(documents.iter().map(|document| document.mark.line).collect::<Vec<_>>(), [3, 7]);
}

#[test]
fn an_alias_stands_for_its_anchor_within_bounds() {
    let node = one("a: &x [1, 2]\nb: *x\n");
    assert!(matches!(&pairs(&node)[1].1.value, Value::List(items) if items.len() == 2));

    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let (_, error) = parse(&bomb);
    assert!(error.expect("refused").what.starts_with("more than 1000000 values"));

    let (_, error) = parse("a: &a [*a]\n");
    assert!(error.is_some());
}

#[test]
fn what_is_nested_too_deeply_is_refused_before_the_stack_ends() {
    for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        assert!(parse(&text).1.is_some());
    }
}

#[test]
fn broken_yaml_is_an_error_with_its_line_and_what_came_before_is_kept() {
    let (documents, error) = parse("a: 1\n---\nb: [1, 2\nc: 3\n");
    assert_eq!(documents.len(), 1);
    assert!(error.expect("an error").what.starts_with("not valid YAML: "));
    let (_, error) = parse("a: !secret x\n");
    assert_eq!(error.expect("an error").what, "YAML tags are not taken: write the value without its `!` tag");
    let (_, error) = parse("? [a]\n: b\n");
    assert_eq!(error.expect("an error").what, "a key must be plain text, not a list or mapping");
}

proptest! {
    #[test]
    fn no_text_brings_the_reader_down(text in "[-a:{}\\[\\]&*!|>'\"#%@?, \n\t\\\\~0é]{0,60}") {
        let _ = parse(&text);
    }
}
