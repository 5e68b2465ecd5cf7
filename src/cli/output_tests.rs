use super::*;

#[test]
fn durations_are_said_in_their_two_largest_units() {
    for (seconds, words) in [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (600, "10 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7_800, "2 h 10 min"),
        (86_400, "1 d"),
        (90_000, "1 d 1 h"),
    ] {
        assert_eq!(duration(seconds), words);
    }
}

#[test]
fn a_table_has_its_columns_two_spaces_apart_and_nothing_at_the_end_of_lines() {
    let rows = vec![vec!["a".to_string(), "10.65.0.0/16".to_string()], vec!["long-name".to_string(), "-".to_string()]];
    assert_eq!(table(&["NAME", "CIDR"], rows, ""), "NAME       CIDR\na          10.65.0.0/16\nlong-name  -\n");
    assert_eq!(table(&["NAME"], Vec::new(), "no pools"), "no pools\n");
}

#[test]
fn colours_are_for_terminals_only() {
    assert_eq!(Style { colour: true }.good("well"), "\x1b[32mwell\x1b[0m");
    assert_eq!(Style { colour: false }.good("well"), "well");
}
