use clap::Parser;
use routenet_core::bgp::speaker::{AttributeLine, RuleLine};

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: TestArgs,
}

const NODE: &str = "
node: speaker
dataPlane: off
bgp:
  as: 64512
  routerId: 192.0.2.1
  listen: [127.0.0.1:1179]
  peers:
  - {name: tor, address: 192.0.2.2, as: 64513, filters: [uplink]}
  - {name: lost, address: 192.0.2.3, as: 64513, filters: [uplink, gone]}
  filters:
  - name: uplink
    importV4:
    - {action: Reject, communities: {values: ['64513:666']}}
    - {action: Accept, matchOperator: In, cidr: 10.1.0.0/16, operations: [{setLocalPreference: {value: 300}}]}
";

/// Asks the file on a command line.
fn ask(line: &[&str]) -> Result<Answer, CliError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.yaml");
    std::fs::write(&file, NODE).unwrap();
    let words = ["test", "-f", file.to_str().unwrap()].into_iter().chain(line.iter().copied());
    let args = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}")).args;
    args.run(&Client::new("/nonexistent"), Style { colour: false })
}

#[test]
fn a_file_is_asked_without_an_agent() {
    let answer = ask(&["--peer", "tor", "--direction", "import", "10.1.7.0/24"]).unwrap();
    assert_eq!(answer.exit, 0);
    assert_eq!(
        answer.text,
        "accepted: 10.1.7.0/24, import from tor (192.0.2.2)\n\
         \x20 decided           BGPFilter uplink, importV4[1] accepts it\n\
         \x20 route             the node has none; made up as one from tor\n\
         \x20 rules             BGPFilter uplink, importV4[0]: `communities` does not match\n\
         \x20                   BGPFilter uplink, importV4[1]: matches\n\
         \x20 AS path           64513\n\
         \x20 communities       -\n\
         \x20 next hop          192.0.2.2\n\
         \x20 MED               -\n\
         \x20 local preference  - -> 300\n"
    );
    let tagged = ["--peer", "tor", "--direction", "import", "10.1.7.0/24", "--community", "64513:666"];
    let answer = ask(&tagged).unwrap();
    assert_eq!(answer.exit, REFUSED);
    assert!(answer.text.starts_with("rejected: 10.1.7.0/24, import from tor (192.0.2.2)\n"), "{}", answer.text);
    assert!(answer.text.contains("BGPFilter uplink, importV4[0] rejects it"), "{}", answer.text);
    let other = ask(&["--peer", "tor", "--direction", "import", "10.2.0.0/24"]).unwrap();
    assert!(other.exit == REFUSED && other.text.contains("import policy is `none`"), "{}", other.text);
    let looped = ["--peer", "tor", "--direction", "import", "10.1.7.0/24", "--as-path", "64513 64512"];
    assert!(ask(&looped).unwrap().text.contains("our own AS is in its AS_PATH"));
    let own = ask(&["--peer", "192.0.2.2", "--direction", "export", "10.9.0.0/24"]).unwrap();
    assert!(own.exit == 0 && own.text.contains("AS path           - -> 64512"), "{}", own.text);
    let closed = ask(&["--peer", "lost", "--direction", "export", "10.9.0.0/24"]).unwrap();
    assert!(closed.text.contains("BGPFilter gone, which the peer names, is not there"), "{}", closed.text);
}

#[test]
fn what_cannot_be_told_is_no_rejection() {
    let error = ask(&["--peer", "spine", "--direction", "import", "10.1.7.0/24"]).unwrap_err();
    assert!(error.to_string().ends_with("no neighbour \"spine\": this node has tor, lost"), "{error}");
    assert_ne!(error.exit(), REFUSED);
    let wrong = Line::try_parse_from(["test", "--peer", "tor", "--direction", "import", "10.1.7.1/24"]);
    assert!(wrong.is_err_and(|error| error.to_string().contains("host bits set")));
    assert_eq!(as_path("65001 x").unwrap_err(), "\"x\" is not an AS number");
}

#[test]
fn what_is_not_accepted_has_no_after() {
    let answer = FilterAnswer {
        peer: "tor".into(),
        address: [192, 0, 2, 2].into(),
        direction: Direction::Export,
        prefix: "10.0.0.0/8".parse().unwrap(),
        in_rib: true,
        from: "here".into(),
        accepted: false,
        why: "it would be a route leak (RFC 9234)".into(),
        rules: vec![RuleLine { rule: "BGPFilter f, exportV4[0]".into(), mismatch: None }],
        attributes: vec![AttributeLine { name: "MED".into(), before: Some("7".into()), after: None }],
    };
    let text = render(&answer, Style { colour: false });
    assert!(text.contains("the node's route from here") && text.ends_with("  MED               7\n"), "{text}");
}
