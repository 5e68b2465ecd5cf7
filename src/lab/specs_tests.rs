use super::*;

#[test]
fn a_file_of_variables_is_read_as_dotenv_writes_it() {
    let text = "# sizes\nA=1\n\nexport B = two words \nC=\"quo'ted\"\nD='x=y'\nE=\nF='open\n";
    let read = variables(text).expect("variables");
    let expected = [("A", "1"), ("B", "two words"), ("C", "quo'ted"), ("D", "x=y"), ("E", ""), ("F", "'open")];
    assert_eq!(read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
}

#[test]
fn a_line_that_sets_nothing_is_refused_by_its_number() {
    assert_eq!(variables("A=1\nB\n"), Err((2, "B".into())));
    assert_eq!(variables("=x"), Err((1, "=x".into())));
    assert_eq!(variables("a b=x"), Err((1, "a b=x".into())));
}
