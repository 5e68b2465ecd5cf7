//! Who looks up the speaker's next hops, whatever becomes of the thread that does: a new one is asked all that is followed,
//! and while there is none, what is asked is taken to resolve, since what cannot be known is no reason to give up routes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread::JoinHandle;

use routenet_core::model::Resolution;

use super::Broken;
use super::kept::{Happened, Kept, Worker};
use crate::plane::next_hops::{Answers, Found, NextHops, Questions};

/// Looks up next hops.
pub trait Lookup: Worker<News = Answers> {
    fn ask(&self, questions: Questions);
}

pub struct Resolver<W = NextHops> {
    kept: Kept<W>,
    /// What is followed, and whether it was answered.
    followed: BTreeMap<IpAddr, bool>,
    /// What nobody could look up.
    assumed: Answers,
}

impl Resolver {
    pub fn new() -> Resolver {
        Resolver::of(Kept::new(
            "BGP next hops",
            "changes of the host's routes are not followed, and new next hops are taken to resolve",
            || NextHops::spawn().map_err(|error| error.to_string()),
        ))
    }
}

impl<W: Lookup> Resolver<W> {
    fn of(mut kept: Kept<W>) -> Resolver<W> {
        kept.start();
        Resolver { kept, followed: BTreeMap::new(), assumed: Answers::new() }
    }

    pub fn ask(&mut self, questions: Questions) {
        for (hop, wanted) in &questions {
            match wanted {
                true => _ = self.followed.insert(*hop, false),
                false => _ = self.followed.remove(hop),
            }
        }
        match self.kept.worker() {
            Some(worker) => worker.ask(questions),
            None => self.assume(),
        }
    }

    /// Answers, or what has changed of them. Dropped before, it has missed nothing.
    pub async fn next(&mut self) -> Answers {
        loop {
            if !self.assumed.is_empty() {
                return std::mem::take(&mut self.assumed);
            }
            match self.kept.next().await {
                Happened::News(answers) => {
                    for (hop, _) in &answers {
                        self.followed.entry(*hop).and_modify(|answered| *answered = true);
                    }
                    return answers;
                }
                Happened::Started => {
                    let all = self.followed.keys().map(|hop| (*hop, true)).collect();
                    if let Some(worker) = self.kept.worker() {
                        worker.ask(all);
                    }
                }
                Happened::Ended => self.assume(),
            }
        }
    }

    pub fn broken(&self) -> Option<Broken> {
        self.kept.broken()
    }

    fn assume(&mut self) {
        for (hop, answered) in self.followed.iter_mut().filter(|(_, answered)| !**answered) {
            *answered = true;
            let resolution = Resolution::Via { metric: 0 };
            self.assumed.push((*hop, Found { resolution, gateways: Vec::new() }));
        }
    }
}

impl Worker for NextHops {
    type News = Answers;

    async fn news(&mut self) -> Option<Answers> {
        self.answers().await
    }

    fn into_thread(self) -> JoinHandle<()> {
        NextHops::into_thread(self)
    }
}

impl Lookup for NextHops {
    fn ask(&self, questions: Questions) {
        NextHops::ask(self, questions);
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
