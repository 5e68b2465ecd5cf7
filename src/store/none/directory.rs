//! The policies directory: every `*.yaml` and `*.yml` in it, read whole or refused whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use routenet_core::model::yaml::{Located, read_documents, render_errors};
use routenet_core::model::{Kind, Object, ObjectKey};

use crate::store::StoreError;

/// The kinds that may stand there: the rest of a cluster without a store is in the node's own file.
pub(super) const KINDS: [Kind; 15] = [
    Kind::BGPFilter,
    Kind::GlobalNetworkPolicy,
    Kind::NetworkPolicy,
    Kind::Tier,
    Kind::GlobalNetworkSet,
    Kind::NetworkSet,
    Kind::Namespace,
    Kind::ServiceAccount,
    Kind::HostEndpoint,
    Kind::WorkloadEndpoint,
    Kind::Profile,
    Kind::KubernetesNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedKubernetesNetworkPolicy,
];

/// All objects of the directory's files.
///
/// # Errors
/// Every error of every file, one a line.
pub(super) fn read(directory: &Path) -> Result<Vec<Located<Object>>, StoreError> {
    let mut objects: Vec<Located<Object>> = Vec::new();
    let mut problems = Vec::new();
    for file in files(directory)? {
        let name = file.display().to_string();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                problems.push(format!("{name}: {error}"));
                continue;
            }
        };
        match read_documents(&name, &text) {
            Ok(read) => objects.extend(read),
            Err(errors) => problems.push(render_errors(&errors)),
        }
    }
    problems.extend(misplaced(&objects));
    if problems.is_empty() { Ok(objects) } else { Err(refused(&problems)) }
}

fn files(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let broken = |error: std::io::Error| StoreError::Refused {
        what: format!("the policies directory {}: {error}", directory.display()),
        mend: "create it, or correct `store.policies` in the node's configuration".into(),
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(broken)? {
        let path = entry.map_err(broken)?.path();
        let name = path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default();
        // Tests of policies stand beside them.
        let passed_over = name.starts_with(b".") || name.ends_with(b".test.yaml");
        if !passed_over && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Kinds that have no place there, and objects that two files define.
fn misplaced(objects: &[Located<Object>]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen: BTreeMap<ObjectKey, &Located<Object>> = BTreeMap::new();
    for object in objects {
        let key = object.value.key();
        let place = format!("{}:{}: {key}", object.file, object.line);
        if !KINDS.contains(&key.kind) {
            problems.push(format!(
                "{place}: {} has no place in the policies directory (without a store it stands in the node's \
                 configuration, under `store`)",
                key.kind.name()
            ));
        }
        if let Some(first) = seen.insert(key, object) {
            problems.push(format!("{place}: defined already in {}:{} (remove one of them)", first.file, first.line));
        }
    }
    problems
}

pub(super) fn refused(problems: &[String]) -> StoreError {
    StoreError::Refused {
        what: problems.join("\n"),
        mend: "correct the files and send the agent SIGHUP; what was read before stays in force".into(),
    }
}
