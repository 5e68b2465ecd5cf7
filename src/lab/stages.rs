//! The stages of a node's start, and who waits for whom: refused here when it can never come true. Built by `resolve`,
//! checked by [`super::topology`], carried out by `course`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::topology::{Command, Network, Node};

/// containerlab's stages, in the order in which a node goes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The node's namespaces and file system.
    Create,
    /// Its ends of its links; then its main process starts.
    CreateLinks,
    /// What `exec` says.
    Configure,
    /// From when its health check has succeeded.
    Healthy,
    /// From when its main process has ended.
    Exit,
}

impl Stage {
    pub const ALL: [Stage; 5] = [Stage::Create, Stage::CreateLinks, Stage::Configure, Stage::Healthy, Stage::Exit];
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Create => "create",
            Stage::CreateLinks => "create-links",
            Stage::Configure => "configure",
            Stage::Healthy => "healthy",
            Stage::Exit => "exit",
        })
    }
}

/// What a node waits for before it enters a stage, and what it runs when it enters and leaves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StagePlan {
    pub waits: Vec<Wait>,
    pub on_enter: Vec<Command>,
    pub on_exit: Vec<Command>,
}

impl StagePlan {
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.on_enter.is_empty() && self.on_exit.is_empty()
    }
}

/// Until another node has finished a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    pub node: String,
    pub stage: Stage,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.node, self.stage)
    }
}

/// A stage that cannot come, and where in the file that is said.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub node: String,
    /// The text to look for in the node's definition.
    pub at: String,
    pub what: String,
}

/// The nodes that wait for nobody before their links are there: these go through their first stages together.
pub fn early(nodes: &[Node]) -> BTreeSet<&str> {
    let prompt = |node: &&Node| {
        let waits = [Stage::Create, Stage::CreateLinks].iter().any(|stage| !node.stage(*stage).waits.is_empty());
        node.startup_delay.is_zero() && !waits
    };
    let mut early: BTreeSet<&str> = nodes.iter().filter(prompt).map(|node| node.name.as_str()).collect();
    // Who shares the network of a late node is late as well; each round finds those one step further away.
    loop {
        let late = nodes.iter().find(|node| match &node.network {
            Network::Of(other) => early.contains(node.name.as_str()) && !early.contains(other.as_str()),
            _ => false,
        });
        match late {
            Some(node) => early.remove(node.name.as_str()),
            None => return early,
        };
    }
}

/// Refuses waiting for what is not there, for what cannot come, and in a circle.
pub fn check(nodes: &[Node]) -> Result<(), Refusal> {
    let by_name: BTreeMap<&str, &Node> = nodes.iter().map(|node| (node.name.as_str(), node)).collect();
    for node in nodes {
        for (stage, plan) in &node.stages {
            let refuse = |at: &str, what: String| Err(Refusal { node: node.name.clone(), at: at.into(), what });
            let place = format!("stages.{stage}");
            if *stage == Stage::Create && !plan.on_enter.is_empty() {
                return refuse(
                    &plan.on_enter[0].text,
                    format!("{place}: nothing can run before the node is there; write `phase: on-exit`"),
                );
            }
            if *stage == Stage::Exit {
                let what = "nobody is there for it once the lab runs; append the command to `cmd`";
                return refuse("exit:", format!("{place}: {what}"));
            }
            if let Some(missing) = missing_for(*stage, node).filter(|_| !plan.is_empty()) {
                return refuse(&format!("{stage}:"), format!("{place}: {missing}"));
            }
            for wait in &plan.waits {
                let Some(other) = by_name.get(wait.node.as_str()) else {
                    let names: Vec<&str> = by_name.keys().copied().collect();
                    let what = format!(
                        "{place}: waits for `{}`, which is no node of the lab; it has {}",
                        wait.node,
                        names.join(", ")
                    );
                    return refuse(&format!("node: {}", wait.node), what);
                };
                if let Some(missing) = missing_for(wait.stage, other) {
                    let what = format!("{place}: waits for `{wait}`, which never comes: {missing}");
                    return refuse(&format!("node: {}", wait.node), what);
                }
            }
        }
    }
    match circle(nodes, &by_name) {
        None => Ok(()),
        Some(circle) => {
            let (first, stage, reason) = &circle[0];
            let at = match reason {
                Reason::Waits(wait) => format!("node: {}", wait.node),
                Reason::Shares(_) => "network-mode".into(),
            };
            let links: Vec<String> = circle
                .iter()
                .map(|(node, stage, reason)| match reason {
                    Reason::Waits(wait) => format!("{node}: {stage} waits for {wait}"),
                    Reason::Shares(other) => {
                        format!("{node}: {stage} waits for {other}: create, whose network it shares")
                    }
                })
                .collect();
            let what = format!("stages.{stage}: the nodes wait in a circle: {}", links.join("; "));
            Err(Refusal { node: first.clone(), at, what })
        }
    }
}

/// What a node lacks to ever reach a stage.
fn missing_for(stage: Stage, node: &Node) -> Option<String> {
    match stage {
        Stage::Healthy if node.healthcheck.is_none() => {
            Some(format!("`{}` has no `healthcheck`; give it one, with a `test`", node.name))
        }
        Stage::Exit if node.cmd.is_none() => {
            Some(format!("`{}` has no `cmd` that could end; give it one, or wait for `configure`", node.name))
        }
        _ => None,
    }
}

#[derive(Clone, Debug)]
enum Reason {
    Waits(Wait),
    Shares(String),
}

/// The waits, explicit ones only, that form a circle; each with who waits, and before which stage. A node goes through
/// create, create-links and configure in turn; healthy and exit follow create-links.
fn circle(nodes: &[Node], by_name: &BTreeMap<&str, &Node>) -> Option<Vec<(String, Stage, Reason)>> {
    let mut done = BTreeSet::new();
    nodes.iter().find_map(|node| {
        Stage::ALL.into_iter().find_map(|stage| visit(node, stage, by_name, &mut Vec::new(), &mut done))
    })
}

type Step = (String, Stage, Option<Reason>);

fn visit(
    node: &Node,
    stage: Stage,
    by_name: &BTreeMap<&str, &Node>,
    path: &mut Vec<Step>,
    done: &mut BTreeSet<(String, Stage)>,
) -> Option<Vec<(String, Stage, Reason)>> {
    let here = (node.name.clone(), stage);
    if let Some(start) = path.iter().position(|(name, at, _)| (name, at) == (&here.0, &here.1)) {
        let circle = path[start..].iter();
        return Some(circle.filter_map(|(name, at, reason)| Some((name.clone(), *at, reason.clone()?))).collect());
    }
    if done.contains(&here) {
        return None;
    }
    let before = match stage {
        Stage::Create => None,
        Stage::CreateLinks => Some(Stage::Create),
        Stage::Configure | Stage::Healthy | Stage::Exit => Some(Stage::CreateLinks),
    };
    let mut next: Vec<(&Node, Stage, Option<Reason>)> = before.map(|before| (node, before, None)).into_iter().collect();
    if let (Stage::Create, Network::Of(other)) = (stage, &node.network) {
        next.extend(by_name.get(other.as_str()).map(|it| (*it, Stage::Create, Some(Reason::Shares(other.clone())))));
    }
    for wait in &node.stage(stage).waits {
        next.extend(by_name.get(wait.node.as_str()).map(|it| (*it, wait.stage, Some(Reason::Waits(wait.clone())))));
    }
    for (other, its, reason) in next {
        path.push((node.name.clone(), stage, reason));
        let found = visit(other, its, by_name, path, done);
        path.pop();
        if found.is_some() {
            return found;
        }
    }
    done.insert(here);
    None
}

#[cfg(test)]
#[path = "stages_tests.rs"]
mod tests;
