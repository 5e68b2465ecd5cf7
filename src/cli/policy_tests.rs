use std::fs;

use super::*;

const TEST: &str = "apiVersion: routenet/v1
kind: PolicyTest
metadata: {name: \"shop & co\"}
spec:
  policies: [shop.yaml]
  workloads: [{name: shop/web}, {name: shop/db}]
  tests:
  - {from: shop/web, to: shop/db, port: tcp/80, expect: deny}
  - {from: shop/db, to: shop/web, port: tcp/80, expect: allow}
";

const POLICY: &str = "apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec: {selector: all(), ingress: []}
";

fn run(folder: &Path, junit: Option<PathBuf>) -> Result<Answer, CliError> {
    let args = TestArgs { files: vec![folder.to_path_buf()], junit };
    args.run(Style { colour: false })
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    fs::write(folder.path().join("below/shop.test.yaml"), TEST).unwrap();
    fs::write(folder.path().join("below/shop.yaml"), POLICY).unwrap();
    folder
}

#[test]
fn what_fails_is_named_with_file_line_and_reason_and_written_for_machines() {
    let folder = folder();
    let report = folder.path().join("report.xml");
    let answer = run(folder.path(), Some(report.clone())).unwrap();
    assert_eq!(answer.exit, 1);
    assert!(answer.text.starts_with("FAILED shop & co (2 questions)\n"), "{}", answer.text);
    assert!(answer.text.contains("below/shop.test.yaml:9: shop/db to shop/web, tcp/80: allow\n"), "{}", answer.text);
    assert!(answer.text.contains("denied: 1 policy applies to its ingress"), "{}", answer.text);
    assert!(answer.text.ends_with("1 file, 2 questions: 1 not as expected\n"), "{}", answer.text);
    let xml = fs::read_to_string(report).unwrap();
    assert!(xml.contains("<testsuite name=\"shop &amp; co\" tests=\"2\" failures=\"1\">"), "{xml}");
    assert!(xml.contains("name=\"line 8: shop/web to shop/db, tcp/80: deny\"/>"), "{xml}");
    assert!(xml.contains("<failure message=\"IPv4: denied: 1 policy"), "{xml}");
}

#[test]
fn what_is_as_expected_exits_with_0() {
    let folder = folder();
    fs::write(folder.path().join("below/shop.test.yaml"), TEST.replace("expect: allow", "expect: deny")).unwrap();
    let answer = run(folder.path(), None).unwrap();
    assert_eq!(
        (answer.exit, answer.text.as_str()),
        (0, "ok     shop & co (2 questions)\n1 file, 2 questions: all as expected\n")
    );
}

#[test]
fn a_file_that_is_not_there_or_wrong_is_told_by_its_name() {
    let folder = folder();
    fs::write(folder.path().join("below/shop.yaml"), POLICY.replace("all()", "all(")).unwrap();
    let error = run(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("below/shop.yaml:4: NetworkPolicy shop/closed: spec.selector"), "{error}");
    fs::remove_file(folder.path().join("below/shop.yaml")).unwrap();
    let error = run(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("below/shop.yaml: cannot be read"), "{error}");
    fs::remove_file(folder.path().join("below/shop.test.yaml")).unwrap();
    let error = run(folder.path(), None).unwrap_err();
    assert!(error.to_string().contains("holds no file whose name ends in .test.yaml"), "{error}");
    assert_eq!(error.exit(), 2);
}
