use super::*;

fn tracker() -> Tracker<&'static str, u8> {
    let mut tracker = Tracker::new();
    tracker.want("a", Some(1));
    tracker.want("b", Some(2));
    tracker
}

#[test]
fn failures_are_told_and_cleared() {
    let now = Instant::now();
    let mut tracker = tracker();
    assert!(tracker.status().in_sync);
    tracker.failed("a", "no carrier".into(), now);
    tracker.failed("b", "no link".into(), now);
    let status = tracker.status();
    assert!(!status.in_sync);
    assert_eq!(status.failure.expect("a failure").1, "a: no carrier (and 1 more)");
    tracker.succeeded(&"a");
    tracker.want("b", None);
    assert_eq!(tracker.status(), PlaneStatus { in_sync: true, wanted: 1, ..PlaneStatus::default() });
}

#[test]
fn retries_back_off_and_can_be_hurried() {
    let now = Instant::now();
    let mut tracker = tracker();
    tracker.failed("a", "x".into(), now);
    assert!(tracker.due(now).is_empty());
    assert_eq!(tracker.due(now + FIRST_RETRY), ["a"]);
    for _ in 0..20 {
        tracker.failed("a", "x".into(), now);
    }
    assert_eq!(tracker.next_due(), Some(now + LONGEST_RETRY));
    tracker.hurry(now);
    assert_eq!(tracker.due(now), ["a"]);
}

#[test]
fn a_first_failure_keeps_its_time() {
    let now = Instant::now();
    let mut tracker = tracker();
    tracker.failed("a", "x".into(), now);
    let since = tracker.status().failure.expect("a failure").0;
    tracker.failed("a", "y".into(), now);
    assert_eq!(tracker.status().failure, Some((since, "a: y".to_string())));
    assert_eq!(tracker.failure(&"a"), Some("y"));
}

#[test]
fn one_error_names_how_many_more() {
    assert_eq!(first_error::<&str>(&[]), Ok(()));
    let error = first_error(&[("a", "x".to_string()), ("b", "y".to_string())]).expect_err("an error");
    assert_eq!(error.to_string(), "a: x (and 1 more)");
}
