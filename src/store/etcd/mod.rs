//! The cluster store in etcd v3. Called by the agent.
//!
//! Every call may be repeated: a transaction with checks that was carried out and whose answer was lost comes back as a
//! conflict, which its caller reads anew and finds done; one without checks only says again what it said. So a call is
//! tried at the next member before the store is called away. No lease holds anything: blocks belong to a node that is
//! away for a week as well.

mod client;
mod watch;

use async_trait::async_trait;
use etcd_client::{Compare, CompareOp, GetOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse};
use routenet_core::model::config::EtcdConfig;
use tokio::sync::mpsc;

use super::{Check, ClusterStore, Entry, Revision, StoreError, TxnOutcome, WatchEvent, Write};
use client::{Failure, Members};

/// Entries in one answer: far below what gRPC takes in one message.
const PAGE: i64 = 500;

/// The store's handle.
pub struct EtcdStore {
    members: Members,
    prefix: String,
    description: String,
}

impl EtcdStore {
    /// Never fails: an etcd that cannot be reached makes a store that is away until it can.
    pub fn new(config: EtcdConfig) -> EtcdStore {
        EtcdStore {
            prefix: config.prefix.clone(),
            description: format!("etcd {} {}", config.endpoints.join(","), config.prefix),
            members: Members::new(config),
        }
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// `None`: not below our prefix.
    fn short<'a>(&self, key: &'a [u8]) -> Option<&'a str> {
        std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)
    }

    fn entry(&self, found: &etcd_client::KeyValue) -> Option<Entry> {
        let key = self.short(found.key())?.to_string();
        Some(Entry { key, value: found.value().to_vec(), revision: revision(found.mod_revision()) })
    }

    async fn entry_of(&self, key: &str) -> Result<Option<Entry>, Failure> {
        let mut client = self.members.client().await?;
        let found = self.members.in_time(client.get(self.full(key), None)).await?;
        Ok(found.kvs().first().and_then(|found| self.entry(found)))
    }

    /// Where a range below our prefix begins; all our keys begin with a slash.
    fn range_start(&self, prefix: &str) -> String {
        if prefix.is_empty() { self.full("/") } else { self.full(prefix) }
    }

    /// All entries at one revision, page by page.
    async fn pages(&self, start: &str) -> Result<(Vec<Entry>, Revision), Failure> {
        let mut client = self.members.client().await?;
        let end = end_of_prefix(start);
        let (mut entries, mut from, mut at) = (Vec::new(), start.as_bytes().to_vec(), 0);
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE)
                .with_revision(at)
                .with_sort(SortTarget::Key, SortOrder::Ascend);
            let page = self.members.in_time(client.get(from.clone(), Some(options))).await?;
            if at == 0 {
                at = page.header().map_or(0, |header| header.revision());
            }
            entries.extend(page.kvs().iter().filter_map(|found| self.entry(found)));
            match page.kvs().last() {
                Some(last) if page.more() => {
                    from = last.key().to_vec();
                    from.push(0);
                }
                _ => return Ok((entries, revision(at))),
            }
        }
    }

    async fn commit(&self, checks: &[Check], writes: &[Write]) -> Result<TxnOutcome, Failure> {
        let compare = |check: &Check| {
            let wanted = i64::try_from(check.revision).unwrap_or(i64::MAX);
            Compare::mod_revision(self.full(&check.key), CompareOp::Equal, wanted)
        };
        let operation = |write: &Write| match write {
            Write::Put { key, value } => TxnOp::put(self.full(key), value.clone(), None),
            Write::Delete { key } => TxnOp::delete(self.full(key), None),
        };
        // Which of the checks failed is read in the same transaction.
        let look = |check: &Check| TxnOp::get(self.full(&check.key), Some(GetOptions::new().with_keys_only()));
        let transaction = Txn::new()
            .when(checks.iter().map(compare).collect::<Vec<_>>())
            .and_then(writes.iter().map(operation).collect::<Vec<_>>())
            .or_else(checks.iter().map(look).collect::<Vec<_>>());
        let mut client = self.members.client().await?;
        let response = self.members.in_time(client.txn(transaction)).await?;
        if response.succeeded() {
            return Ok(TxnOutcome::Committed(revision(response.header().map_or(0, |header| header.revision()))));
        }
        let found = response.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(got) => got.kvs().first().map_or(0, |found| revision(found.mod_revision())),
            _ => 0,
        });
        let failed = checks.iter().zip(found).filter(|(check, found)| check.revision != *found);
        Ok(TxnOutcome::Conflict(failed.map(|(check, _)| check.key.clone()).collect()))
    }
}

/// etcd counts from 1, and never back.
fn revision(of_etcd: i64) -> Revision {
    u64::try_from(of_etcd).unwrap_or(0)
}

/// The first key that does not begin with the prefix.
fn end_of_prefix(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

#[async_trait]
impl ClusterStore for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.members.again(|| self.entry_of(key)).await
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let start = self.range_start(prefix);
        self.members.again(|| self.pages(&start)).await
    }

    async fn transact(&self, checks: Vec<Check>, writes: Vec<Write>) -> Result<TxnOutcome, StoreError> {
        self.members.again(|| self.commit(&checks, &writes)).await
    }

    async fn watch(&self, from: Revision) -> Result<mpsc::Receiver<WatchEvent>, StoreError> {
        let (sender, receiver) = mpsc::channel(watch::BACKLOG);
        let watcher = watch::Watcher::new(self.members.clone(), self.prefix.clone(), from, sender);
        tokio::spawn(watcher.run());
        Ok(receiver)
    }

    fn writable(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_ends_before_the_next_prefix() {
        assert_eq!(end_of_prefix("/routenet/"), b"/routenet0");
        assert_eq!(end_of_prefix("a"), b"b");
    }
}
