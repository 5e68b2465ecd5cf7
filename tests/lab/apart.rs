//! Two labs at once, with the same addresses, do not meet.

use super::{Place, segment};

#[test]
fn two_labs_at_once_do_not_meet() {
    let place = Place::default();
    place.file("message.txt", "");
    let left = place.deploy(&place.file("left.clab.yml", &segment("apart-left", "10.9.0.1", "10.9.0.2")));
    let right = place.deploy(&place.file("right.clab.yml", &segment("apart-right", "10.9.0.1", "10.9.0.3")));
    let answers = |lab: &routenet::lab::Deployed, to: &str| {
        let status = lab.command("one", "ping").args(["-c1", "-W1", to]).stdout(std::process::Stdio::null()).status();
        status.expect("ping").success()
    };
    assert!(answers(&left, "10.9.0.2") && answers(&right, "10.9.0.3"), "within a lab");
    assert!(!answers(&left, "10.9.0.3") && !answers(&right, "10.9.0.2"), "between labs");
    left.destroy().expect("its end");
    assert!(answers(&right, "10.9.0.3"), "the end of one is not the other's");
    drop(right);
    place.assert_nothing_left("apart-left");
    place.assert_nothing_left("apart-right");
}

#[test]
fn nothing_is_made_in_the_callers_namespace() {
    super::support::in_fresh_netns(|| {
        let links = || super::support::run("ip", &["-br", "link"]);
        let before = links();
        let place = Place::default();
        place.file("message.txt", "");
        let lab = place.deploy(&place.file("lab.clab.yml", &segment("outside", "10.9.0.1", "10.9.0.2")));
        assert_eq!(links(), before);
        let inside = lab.in_network("one", links).expect("the node");
        assert!(inside.contains("eth1@"), "{inside}");
    });
}
