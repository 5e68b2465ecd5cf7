use super::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "A" => Some("alpha".into()),
        "EMPTY" => Some(String::new()),
        "_b2" => Some("beta".into()),
        _ => None,
    }
}

fn replaced(text: &str) -> Result<String, Refusal> {
    replace(text, &environment)
}

#[test]
fn every_form_means_what_containerlabs_manual_says() {
    let cases = [
        ("$A", "alpha"),
        ("${A}", "alpha"),
        ("x$_b2-y", "xbeta-y"),
        ("[$A,$A]", "[alpha,alpha]"),
        ("${EMPTY}", ""),
        ("${A:=d} ${A:-d} ${A=d} ${A-d}", "alpha alpha alpha alpha"),
        ("${N:=d} ${N:-d} ${N=d} ${N-d}", "d d d d"),
        ("${EMPTY:=d} ${EMPTY:-d} ${EMPTY=d} ${EMPTY-d}", "d d  "),
        ("${A:+alt} ${A+alt} ${EMPTY+alt} ${EMPTY:+alt}", "alt alt alt alt"),
        ("<${N:+alt}${N+alt}>", "<>"),
        ("${N:=$A} ${N:-${M:=${A}}}", "alpha alpha"),
        ("${N:=}", ""),
        ("alpine:${TAG:=3.20}", "alpine:3.20"),
        ("$$A ${A}$$ $$$A $${N}", "$A alpha$ $alpha ${N}"),
        // Not ours: awk's fields, a shell's substitution, an end.
        ("awk '{print $1}' $(date) $? cost: 5$", "awk '{print $1}' $(date) $? cost: 5$"),
    ];
    for (text, expected) in cases {
        assert_eq!(replaced(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn what_cannot_be_replaced_is_refused_by_name_and_line() {
    let cases = [
        (
            "name: x\nnode: $NONE\n",
            2,
            "the variable `NONE` is not set; set it, or write `${NONE:=default}`, or `$$NONE` for",
        ),
        ("a\nb\n${NONE}", 3, "the variable `NONE` is not set"),
        ("${A:=x} ${N:=$NONE}", 1, "the variable `NONE` is not set"),
        ("x: ${A", 1, "`${A`: the brace is not closed in its line"),
        ("x: ${A:?why}", 1, "`${A:?why}`: `${V}`, `${V:=x}`,"),
        ("x: ${A%p}", 1, "`${A%p}`: "),
        ("x: ${}", 1, "`${}`: "),
        ("x: ${1}", 1, "`${1}`: "),
    ];
    for (text, line, what) in cases {
        let said = replaced(text).expect_err(text);
        assert_eq!(said.line, line, "{text}");
        assert!(said.what.starts_with(what), "{text}: {}", said.what);
    }
}

#[test]
fn comments_are_left_alone_and_a_sharp_in_a_text_is_none() {
    let cases = [
        ("# $NONE\n  # ${NONE\nx: $A # $NONE\n", "# $NONE\n  # ${NONE\nx: alpha # $NONE\n"),
        ("x: a#$A\n", "x: a#alpha\n"),
        ("x: 'a # $A' # $NONE\n", "x: 'a # alpha' # $NONE\n"),
        ("x: ['it''s # $A', \"q\\\" # $A\"] # $NONE\n", "x: ['it''s # alpha', \"q\\\" # alpha\"] # $NONE\n"),
        ("x: it's # $NONE\n", "x: it's # $NONE\n"),
        ("x: \"one\n  # $A\"\ny: 1 # $NONE\n", "x: \"one\n  # alpha\"\ny: 1 # $NONE\n"),
        ("x: |\n  # $A\n\n  b\n# $NONE\n", "x: |\n  # alpha\n\n  b\n# $NONE\n"),
        ("- |-\n  # $A\n- b # $NONE\n", "- |-\n  # alpha\n- b # $NONE\n"),
        ("- x: >\n    # $A\n  y: 1 # $NONE\n", "- x: >\n    # alpha\n  y: 1 # $NONE\n"),
    ];
    for (text, expected) in cases {
        assert_eq!(replaced(text).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn of_a_file_of_which_a_part_is_wanted_the_rest_may_stay() {
    assert_eq!(replace_known("name: $A\nx: $NONE ${A}\n", &environment), "name: alpha\nx: $NONE ${A}\n");
}

#[test]
fn containerlabs_own_variables_are_of_the_node() {
    let magic = Magic { lab: "l", node: "n", shared: Path::new("/run/l/shared") };
    assert_eq!(
        magic.expand("__clabNodeDir__/a __clabDir__ __clabNodeName__.__clabLabName__ __clabOther__"),
        "/run/l/shared/n/a /run/l/shared n.l __clabOther__"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_panics_and_one_without_variables_is_kept(text in "[-a-z |>:#'\"\\\\{}$\n\u{e4}]{0,60}") {
        let _ = replaced(&text);
        let plain = text.replace('$', "");
        proptest::prop_assert_eq!(replaced(&plain), Ok(plain));
    }
}
