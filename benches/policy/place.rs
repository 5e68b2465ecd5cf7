//! Network namespaces of this program's own threads, and the rules plane in them.

use std::future::Future;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace that ends with its thread, which works in it.
pub struct Place {
    jobs: Option<Sender<Job>>,
    worker: Option<JoinHandle<()>>,
    pub netns: String,
}

impl Place {
    pub fn new() -> Place {
        let (jobs, inbox) = channel::<Job>();
        let (tell, told) = channel();
        let worker = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a network namespace: run as root");
            ip("link set lo up");
            let path = format!("/proc/{}/task/{}/ns/net", std::process::id(), nix::unistd::gettid());
            tell.send(path).expect("somebody waits");
            inbox.into_iter().for_each(|job| job());
        });
        let netns = told.recv().expect("a namespace");
        Place { jobs: Some(jobs), worker: Some(worker), netns }
    }

    /// Does a job inside, and answers its outcome.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        let job: Job = Box::new(move || {
            // Nobody waits for it any more only where this thread panics too.
            let _ = tell.send(job());
        });
        self.jobs.as_ref().expect("open until dropped").send(job).expect("the place stands");
        told.recv().expect("the job ended well")
    }

    pub fn ip(&self, words: &str) {
        let words = words.to_string();
        self.run(move || ip(&words));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

pub fn ip(words: &str) {
    run("ip", &words.split_whitespace().collect::<Vec<_>>());
}

pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", args.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program that reads its work from its standard input.
pub fn feed(program: &str, args: &[&str], input: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), input.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{program} refused");
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}
