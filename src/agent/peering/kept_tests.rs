//! Threads that end, threads that cannot be had, and one that is well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;

/// Far more than a thread takes to start, on a busy machine too.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(80);
/// What a pause may be short of that.
const LEAST_PAUSE: Duration = Duration::from_millis(60);

struct Counting {
    news: mpsc::UnboundedReceiver<usize>,
    thread: JoinHandle<()>,
}

impl Worker for Counting {
    type News = usize;

    async fn news(&mut self) -> Option<usize> {
        self.news.recv().await
    }

    fn into_thread(self) -> JoinHandle<()> {
        self.thread
    }
}

/// One that runs what it is given the number of its start and where to tell something.
fn counting(starts: &Arc<AtomicUsize>, run: fn(usize, &mpsc::UnboundedSender<usize>)) -> Kept<Counting> {
    let starts = starts.clone();
    let start = move || {
        let number = starts.fetch_add(1, Ordering::Relaxed);
        let (tell, news) = mpsc::unbounded_channel();
        Ok(Counting { news, thread: std::thread::spawn(move || run(number, &tell)) })
    };
    Kept { backoff: Backoff::new(PAUSE, PAUSE), ..Kept::new("the count", "nobody counts", start) }
}

fn in_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await.expect("in time") })
}

fn said<W: Worker>(kept: &Kept<W>) -> String {
    kept.broken().map(|broken| broken.why).unwrap_or_default()
}

#[test]
fn one_that_panics_is_started_again_after_a_pause_and_says_so() {
    let starts = Arc::new(AtomicUsize::new(0));
    let mut kept = counting(&starts, |number, tell| {
        tell.send(number).expect("a listener");
        match number {
            0 => panic!("boom {number}"),
            1 => {}
            // Until nobody listens.
            _ => {
                while !tell.is_closed() {
                    std::thread::sleep(Duration::from_millis(5))
                }
            }
        }
    });
    in_time(async {
        assert_eq!(kept.next().await, Happened::Started);
        assert_eq!(kept.broken(), None);
        assert_eq!(kept.next().await, Happened::News(0), "what it told before its end counts");
        assert_eq!(kept.next().await, Happened::Ended);
        let ended = Instant::now();
        assert_eq!(said(&kept), "its thread panicked: boom 0: nobody counts; it is started again");
        assert!(kept.worker().is_none() && !kept.start(), "not at once");
        assert_eq!(kept.next().await, Happened::Started);
        assert!(ended.elapsed() >= LEAST_PAUSE, "{:?}", ended.elapsed());
        assert_eq!(kept.next().await, Happened::News(1));
        assert_eq!(kept.next().await, Happened::Ended);
        assert!(said(&kept).starts_with("its thread ended: "), "{}", said(&kept));
        assert_eq!(kept.next().await, Happened::Started);
        assert_eq!(kept.next().await, Happened::News(2));
        assert!(said(&kept).contains("it was started again"), "{}", said(&kept));
        kept.steady = Duration::ZERO;
        assert_eq!(kept.broken(), None, "it has run for long enough");
    });
}

#[test]
fn one_that_cannot_be_had_is_tried_at_a_pace() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    let start = move || match counted.fetch_add(1, Ordering::Relaxed) {
        3 => {
            let (tell, news) = mpsc::unbounded_channel();
            Ok(Counting { news, thread: std::thread::spawn(move || drop(tell)) })
        }
        _ => Err("no threads left".to_string()),
    };
    let mut kept = Kept { backoff: Backoff::new(PAUSE, PAUSE), ..Kept::new("the count", "nobody counts", start) };
    let began = Instant::now();
    for _ in 0..1000 {
        assert!(!kept.start());
    }
    let at_most = began.elapsed().as_millis() / LEAST_PAUSE.as_millis() + 1;
    assert!(tries.load(Ordering::Relaxed) as u128 <= at_most, "whoever asks for it, and however often");
    assert_eq!(said(&kept), "no threads left: nobody counts; it is started again");
    assert_eq!(in_time(kept.next()), Happened::Started);
    assert_eq!(tries.load(Ordering::Relaxed), 4);
    assert!(began.elapsed() >= 3 * LEAST_PAUSE, "{:?}", began.elapsed());
}

#[test]
fn one_that_runs_is_left_alone() {
    let starts = Arc::new(AtomicUsize::new(0));
    let mut kept = counting(&starts, |number, tell| {
        for _ in 0..100 {
            tell.send(number).expect("a listener");
        }
        while !tell.is_closed() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    in_time(async {
        assert_eq!(kept.next().await, Happened::Started);
        for _ in 0..100 {
            assert_eq!(kept.next().await, Happened::News(0));
        }
    });
    assert_eq!((starts.load(Ordering::Relaxed), kept.broken()), (1, None));
}
