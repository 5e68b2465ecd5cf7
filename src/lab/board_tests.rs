use std::sync::Arc;

use super::*;

#[test]
fn who_waits_goes_on_when_the_moment_comes() {
    let board = Arc::new(Board::default());
    let waiter = std::thread::spawn({
        let board = board.clone();
        move || board.until("a", Moment::Linked)
    });
    let both = BTreeSet::from(["a", "b"]);
    assert!(!board.reach("a", Moment::Created, &both), "b is not created");
    assert!(!board.has("a", Moment::Linked));
    assert!(!board.reach("a", Moment::Linked, &both));
    assert!(waiter.join().expect("no panic").is_ok());
    assert!(board.reach("b", Moment::Linked, &both), "both are linked");
}

#[test]
fn the_first_failure_ends_all_waiting_and_is_the_one_that_is_told() {
    let board = Arc::new(Board::default());
    let waiters: Vec<_> = (0..2)
        .map(|number| {
            let board = board.clone();
            std::thread::spawn(move || match number {
                0 => board.until("a", Moment::Healthy),
                _ => board.sleep(Duration::from_secs(600)),
            })
        })
        .collect();
    board.fail(Stop::Cancelled);
    assert!(!board.has("a", Moment::Healthy));
    board.fail(Stop::Failed(LabError::Lab("first".into())));
    board.fail(Stop::Failed(LabError::Lab("second".into())));
    for waiter in waiters {
        assert!(matches!(waiter.join().expect("no panic"), Err(Stop::Cancelled)));
    }
    let board = Arc::into_inner(board).expect("no thread is left");
    assert_eq!(board.end().expect_err("a failure").to_string(), "first");
}
