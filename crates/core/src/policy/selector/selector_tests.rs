use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

fn matches(selector: &str, pairs: &[(&str, &str)]) -> bool {
    Selector::parse(selector).unwrap_or_else(|e| panic!("{selector}: {e}")).matches(&labels(pairs))
}

fn refused(selector: &str) -> String {
    Selector::parse(selector).expect_err(selector).to_string()
}

#[test]
fn each_term_matches_what_it_says_and_nothing_else() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], bool);
    let cases: &[Case] = &[
        ("", &[], true),
        ("  ", &[], true),
        ("all()", &[], true),
        ("global()", &[("a", "b")], true),
        ("a == 'x'", &[("a", "x")], true),
        ("a == 'x'", &[("a", "y")], false),
        ("a == 'x'", &[], false),
        ("a != 'x'", &[("a", "x")], false),
        ("a != 'x'", &[("a", "y")], true),
        ("a != 'x'", &[], true),
        ("a contains 'el'", &[("a", "hello")], true),
        ("a contains 'el'", &[], false),
        ("a starts with 'he'", &[("a", "hello")], true),
        ("a starts with 'lo'", &[("a", "hello")], false),
        ("a ends with 'lo'", &[("a", "hello")], true),
        ("a ends with 'lo'", &[], false),
        ("a in {'x', 'y'}", &[("a", "y")], true),
        ("a in {'x', 'y'}", &[], false),
        ("a in {}", &[("a", "y")], false),
        ("a not in {'x', 'y'}", &[("a", "y")], false),
        ("a not in {'x', 'y'}", &[], true),
        ("has(a)", &[("a", "")], true),
        ("has(a)", &[("b", "")], false),
        ("!has(a)", &[], true),
        ("!!has(a)", &[], false),
        ("!(has(a) || has(b))", &[("c", "")], true),
        ("projectcalico.org/namespace == \"x's\"", &[("projectcalico.org/namespace", "x's")], true),
    ];
    for (selector, pairs, expected) in cases {
        assert_eq!(matches(selector, pairs), *expected, "{selector} on {pairs:?}");
    }
}

#[test]
fn and_binds_tighter_than_or_and_not_tightest() {
    assert!(matches("has(a) || has(b) && has(c)", &[("a", "")]));
    assert!(!matches("(has(a) || has(b)) && has(c)", &[("a", "")]));
    assert!(matches("!has(a) && has(b)", &[("b", "")]));
    assert!(!matches("!(has(a) && has(b))", &[("a", ""), ("b", "")]));
}

#[test]
fn spaces_are_optional_and_words_may_be_labels() {
    assert!(matches("a=='x'&&b in{'y','z'}||!has(c)", &[("a", "x"), ("b", "z"), ("c", "")]));
    assert!(matches("in == 'x' && has(not) && all == 'y'", &[("in", "x"), ("not", ""), ("all", "y")]));
    assert!(matches("a starts  with'x'", &[("a", "xy")]));
    assert!(matches(" a not\tin\n{ 'x' , }", &[("a", "y")]));
}

#[test]
fn equal_meanings_have_one_canonical_form() {
    for (left, right) in [
        ("a in {'y','x','y'}", "a in { \"x\", 'y' }"),
        ("a in {'x'}", "a == 'x'"),
        ("a not in {'x'}", "a != \"x\""),
        ("has(a) && has(b)", "has(b)&&(has(a) && has(b))"),
        ("has(a) || (has(b) || has(c))", "has(c) || has(b) || has(a)"),
        ("!!has(a)", "has(a)"),
    ] {
        let (left, right) = (Selector::parse(left).unwrap(), Selector::parse(right).unwrap());
        assert_eq!(left, right);
        assert_eq!(left.to_string(), right.to_string());
    }
    assert_ne!(Selector::parse("all()").unwrap(), Selector::parse("global()").unwrap());
    assert_eq!(Selector::parse("b in {'z', \"it's\"} || !(a=='x' )").unwrap().to_string(), {
        r#"b in {"it's", 'z'} || !(a == 'x')"#
    });
}

#[test]
fn errors_say_where_what_and_the_mend() {
    assert_eq!(
        refused("role = 'client'"),
        "at character 6: expected `==`, `!=`, `in`, `not in`, `contains`, `starts with` or `ends with`, found `= 'clien`; write `==`"
    );
    assert_eq!(
        refused("role == client"),
        "at character 9: expected a string in quotes, found `client`; write it in quotes: 'client'"
    );
    assert_eq!(refused("has(a) and has(b)"), "at character 8: expected `&&`, `||` or the end, found `and`; write `&&`");
    assert_eq!(refused("has(a) && "), "at character 11: expected a label, `has(`, `all()`, `!` or `(`, found the end");
    for (selector, mend) in [
        ("role", "has(role)"),
        ("role == 'x", "close it with `'`"),
        ("(has(a)", "`)`"),
        ("has(a))", "remove `)`"),
        ("has('a')", "without quotes"),
        ("hass(a)", "has(LABEL)"),
        ("HAS(a)", "write `has(`"),
        ("a in ('x')", "write braces"),
        ("a startswith 'x'", "write `starts with`"),
        ("a not 'x'", "not in"),
        ("not(has(a))", "write `!(...)`"),
        ("'a' == 'b'", "without quotes"),
        ("has(a) | has(b)", "write `||`"),
        ("a in {'x' 'y'}", "`,` or `}`"),
        ("ä == 'x'", "expected a label"),
    ] {
        let text = refused(selector);
        assert!(text.contains(mend), "{selector}: {text}");
    }
}

#[test]
fn an_error_shows_no_character_that_a_terminal_would_act_on() {
    assert!(refused("a == 'x' \u{1b}[2J\0").contains(r"found `\u{1b}[2J\u{0}`"), "{}", refused("a == 'x' \u{1b}[2J\0"));
}

#[test]
fn hostile_input_is_refused_within_bounds() {
    assert!(refused(&"(".repeat(10_000)).contains("nested parentheses"));
    assert!(refused(&"x".repeat(MAX_LENGTH + 1)).contains("at most"));
    assert!(refused(&format!("has({})", "x".repeat(MAX_LABEL + 1))).contains("label"));
    assert!(refused(&format!("{} == 'x'", "x".repeat(MAX_LABEL + 1))).contains("label"));
    let deep = format!("{}has(a){}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH));
    assert!(Selector::parse(&deep).is_ok());
    assert!(Selector::parse(&format!("{}has(a)", "!".repeat(60_000))).is_ok());
    let wide = vec!["has(a)"; 5_000].join("||");
    assert_eq!(Selector::parse(&wide).unwrap().to_string(), "has(a)");
}

#[test]
fn a_namespace_selector_looks_at_the_labels_of_the_namespace() {
    let of = |text: &str| Selector::parse(text).unwrap().of_namespace().to_string();
    assert_eq!(of("all()"), "has(projectcalico.org/namespace)");
    assert_eq!(of("global()"), "!has(projectcalico.org/namespace)");
    assert_eq!(of("team == 'r' && !has(x)"), "pcns.team == 'r' && !has(pcns.x)");
}

#[test]
fn anchors_name_what_a_match_must_carry() {
    let of = |text: &str| {
        Selector::parse(text)
            .unwrap()
            .anchors()
            .map(|anchors| anchors.into_iter().map(|a| (a.label, a.value.unwrap_or("*".into()))).collect::<Vec<_>>())
    };
    let pair = |k: &str, v: &str| (k.to_string(), v.to_string());
    assert_eq!(of("has(a) && b == 'x'"), Some(vec![pair("b", "x")]));
    assert_eq!(of("b == 'x' || c starts with 'y'"), Some(vec![pair("b", "x"), pair("c", "*")]));
    assert_eq!(of("b == 'x' || !has(c)"), None);
    assert_eq!(of("all()"), None);
}

fn expression() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "c", "in", "has", "x.y/z-1"]);
    let value = prop::sample::select(vec!["'x'", "\"y\"", "'xy'", "''", "\"it's\"", "'a\"b'"]);
    let values = prop::collection::vec(value.clone(), 0..4).prop_map(|v| format!("{{{}}}", v.join(", ")));
    let operator = prop::sample::select(vec!["==", "!=", "contains", "starts with", "ends with"]);
    let leaf = prop_oneof![
        Just("all()".to_string()),
        Just("global()".to_string()),
        label.clone().prop_map(|l| format!("has({l})")),
        (label.clone(), operator, value).prop_map(|(l, o, v)| format!("{l} {o} {v}")),
        (label, any::<bool>(), values).prop_map(|(l, n, v)| format!("{l} {}in{v}", if n { "not " } else { "" })),
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|e| format!("!({e})")),
            inner.clone().prop_map(|e| format!("!{e}")),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|v| format!("({})", v.join("&&"))),
            prop::collection::vec(inner, 1..4).prop_map(|v| v.join(" || ")),
        ]
    })
}

fn some_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let label = prop::sample::select(vec!["a", "b", "c", "in", "has", "x.y/z-1"]).prop_map(String::from);
    let value = prop::sample::select(vec!["x", "y", "xy", "", "it's", "a\"b"]).prop_map(String::from);
    prop::collection::btree_map(label, value, 0..5)
}

proptest! {
    #[test]
    fn the_canonical_form_reads_back_as_itself(text in expression(), labels in some_labels()) {
        let selector = Selector::parse(&text).unwrap();
        let again = Selector::parse(&selector.to_string()).unwrap();
        prop_assert_eq!(&again, &selector);
        prop_assert_eq!(again.matches(&labels), selector.matches(&labels));
    }

    #[test]
    fn what_matches_carries_an_anchor(text in expression(), labels in some_labels()) {
        let selector = Selector::parse(&text).unwrap();
        if let Some(anchors) = selector.anchors()
            && selector.matches(&labels)
        {
            let carried = anchors.iter().any(|anchor| match (labels.get(&anchor.label), &anchor.value) {
                (Some(value), Some(wanted)) => value == wanted,
                (value, None) => value.is_some(),
                (None, Some(_)) => false,
            });
            prop_assert!(carried, "{} on {:?}", selector, labels);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}") {
        let _ = Selector::parse(&text);
    }

    #[test]
    fn no_heap_of_tokens_makes_it_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "a", "==", "!=", "!", "(", ")", "&&", "||", "in", "not", "{", "}", "'x'", "'", ",", "has(", "all()",
            "starts", "with", "contains", " ", "é",
        ]), 0..24)
    ) {
        let _ = Selector::parse(&tokens.concat());
    }
}
