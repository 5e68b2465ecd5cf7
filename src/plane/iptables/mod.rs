//! Our chains (`rn-*`) and the jumps into them from the kernel's built-in chains: read, mirror, apply. Called by
//! `plane::rules`.
//!
//! A change is a few lines to one long-lived `iptables-restore` a family (`restore`); each table commits as a whole or
//! not at all. What others do to nf_tables is noticed (`events`), to legacy counted (`entries`). Rules are known again by a hash in their comment (`identity`), never by their text, since what
//! `iptables-save` prints is not what was written. Chains, rules and hooks of others are never changed.

mod backend;
mod edit;
mod entries;
mod events;
mod identity;
mod mirror;
mod plan;
mod read;
mod restore;
mod tables;

pub use backend::Backend;
pub use mirror::{IptablesPlane, RuleCounters};

use edit::{Edit, edits};
use identity::{RuleId, rule_ids};
use plan::{Origin, TableCommit};
pub(super) use read::is_ours;
use read::{HookRule, KernelTables};
