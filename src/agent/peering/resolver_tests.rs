//! What is asked of a thread that ends, and of none.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;

/// What one was asked, by whoever had it started.
type Asked = Arc<Mutex<Vec<Questions>>>;

/// Answers when the test says so, and ends when it drops that end.
struct Played {
    asked: Asked,
    answers: mpsc::UnboundedReceiver<Answers>,
}

impl Worker for Played {
    type News = Answers;

    async fn news(&mut self) -> Option<Answers> {
        self.answers.recv().await
    }

    fn into_thread(self) -> JoinHandle<()> {
        std::thread::spawn(|| panic!("of age"))
    }
}

impl Lookup for Played {
    fn ask(&self, questions: Questions) {
        self.asked.lock().expect("no panic").push(questions);
    }
}

fn hop(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn in_time<T>(future: impl Future<Output = T>) -> T {
    let limit = std::time::Duration::from_secs(60);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(limit, future).await.expect("in time") })
}

#[test]
fn another_thread_is_asked_all_that_is_followed_and_nothing_waits_for_one_that_is_not_there() {
    let (asked, played) = (Asked::default(), Arc::new(Mutex::new(Vec::new())));
    let start = {
        let (asked, played) = (asked.clone(), played.clone());
        move || {
            let (tell, answers) = mpsc::unbounded_channel();
            played.lock().expect("no panic").push(tell);
            Ok(Played { asked: asked.clone(), answers })
        }
    };
    let mut resolver = Resolver::of(Kept::new("next hops", "they are not followed", start));
    let take = || std::mem::take(&mut *asked.lock().expect("no panic"));
    let metric = |metric| Found { resolution: Resolution::Via { metric }, gateways: Vec::new() };

    resolver.ask(Questions::from([(hop(1), true), (hop(2), true), (hop(3), true)]));
    assert_eq!(take().len(), 1);
    played.lock().expect("no panic")[0].send(vec![(hop(1), metric(7))]).expect("it listens");
    assert_eq!(in_time(resolver.next()), [(hop(1), metric(7))]);
    resolver.ask(Questions::from([(hop(3), false)]));
    take();

    // It ends: what it owed is taken to resolve, what it said stands, and what is asked meanwhile does not wait either.
    played.lock().expect("no panic").remove(0);
    assert_eq!(in_time(resolver.next()), [(hop(2), metric(0))]);
    let why = resolver.broken().expect("it is said").why;
    assert!(why.contains("panicked: of age: they are not followed"), "{why}");
    resolver.ask(Questions::from([(hop(4), true)]));
    assert_eq!(in_time(resolver.next()), [(hop(4), metric(0))]);
    assert!(take().is_empty());

    // Another one is asked about all of them, and what it says counts.
    let answers = in_time(async {
        let news = resolver.next();
        let answer = async {
            loop {
                if let Some(tell) = played.lock().expect("no panic").first() {
                    break tell.send(vec![(hop(2), metric(9))]).expect("it listens");
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::join!(news, answer).0
    });
    assert_eq!(answers, [(hop(2), metric(9))]);
    assert_eq!(take(), [Questions::from([(hop(1), true), (hop(2), true), (hop(4), true)])]);
}
