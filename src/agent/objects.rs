//! Objects through the store: `get`, `apply`, `delete`. Validated whole before anything is written, all or nothing.
//! Called by the local API.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use routenet_core::model::keys::{self, OBJECTS, StoreKey, USES};
use routenet_core::model::validate::check_objects;
use routenet_core::model::yaml::{Located, object_to_value, read_documents, render_errors};
use routenet_core::model::{EncapsulationMode, Fact, Kind, Object, ObjectKey, ObjectUse, TunnelKind};
use tracing::info;

use super::cut;
use super::pending::Confirm;
use crate::api::listing::{Change, GetReply, Outcome};
use crate::api::{ApiError, Document, ObjectName};
use crate::store::{Check, ClusterStore, Entry, Revision, StoreError, TxnOutcome, Write};

/// Every change of objects writes this key, so that two changes that are each valid, but not together, cannot both win.
pub(super) const GUARD: &str = "/guards/objects";

/// How often a change is tried again when others write at the same time.
const ATTEMPTS: usize = 10;

/// All objects of the store at one revision.
pub(super) struct Snapshot {
    pub objects: BTreeMap<ObjectKey, (Object, Revision)>,
    /// Who uses which of them.
    pub uses: Vec<ObjectUse>,
    guard: Revision,
}

/// Objects of one kind or of all, by name and namespace if given. `runtimes`: what is no object, and read as one where its
/// kind is asked for.
pub async fn get(
    store: &dyn ClusterStore,
    kind: &str,
    name: Option<&str>,
    namespace: Option<&str>,
    runtimes: Vec<Object>,
) -> Result<GetReply, ApiError> {
    let kind = match kind {
        "all" => None,
        word => Some(kind_from(word)?),
    };
    let snapshot = read(store).await?;
    let is_wanted = |key: &ObjectKey| {
        kind.is_none_or(|kind| key.kind == kind)
            && name.is_none_or(|name| key.name == name)
            && (namespace.is_none() || key.namespace.is_none() || key.namespace.as_deref() == namespace)
    };
    let written = snapshot.objects.values().map(|(object, _)| object);
    let read = runtimes.iter().filter(|object| kind == Some(object.kind()));
    let objects: Vec<serde_json::Value> =
        written.chain(read).filter(|object| is_wanted(&object.key())).map(object_to_value).collect();
    match (kind, name) {
        (Some(kind), Some(name)) if objects.is_empty() => Err(not_found(kind, namespace, name)),
        _ => Ok(GetReply { objects }),
    }
}

/// What objects there are, what there would be if the documents were applied, and what that would do to each of them.
pub struct Preview {
    pub before: Vec<Object>,
    pub after: Vec<Object>,
    pub changes: Vec<Change>,
}

/// Reads and validates as `apply` does, and writes nothing.
pub async fn preview(store: &dyn ClusterStore, documents: &[Document]) -> Result<Preview, ApiError> {
    let wanted = read_wanted(documents)?;
    let snapshot = read(store).await?;
    let (_, changes) = plan(&snapshot, &wanted)?;
    let before: BTreeMap<ObjectKey, Object> =
        snapshot.objects.into_iter().map(|(key, (object, _))| (key, object)).collect();
    let mut after = before.clone();
    after.extend(wanted.into_iter().map(|object| (object.value.key(), object.value)));
    Ok(Preview { before: before.into_values().collect(), after: after.into_values().collect(), changes })
}

/// What a change did.
#[derive(Debug, Default)]
pub struct Changed {
    pub changes: Vec<Change>,
    /// When it was written; `None` where nothing had to be.
    pub revision: Option<Revision>,
}

/// Writes all objects of the documents, or none; to be rolled back unless it is confirmed. `cut`: the name of the wish to
/// end the connections that policy then denies.
pub async fn apply(
    store: &dyn ClusterStore,
    documents: &[Document],
    confirm: Option<&Confirm>,
    cut: Option<&str>,
) -> Result<Changed, ApiError> {
    let wanted = read_wanted(documents)?;
    change(store, |snapshot| {
        let (mut writes, changes) = plan(snapshot, &wanted)?;
        if let Some(confirm) = confirm.filter(|_| !writes.is_empty()) {
            let touched = wanted.iter().filter_map(|object| snapshot.objects.get_key_value(&object.value.key()));
            let present = touched.map(|(key, (object, _))| {
                (StoreKey::Object(key.clone()).path(), keys::encode_fact(&Fact::Object(object.clone())))
            });
            let note = confirm.note(&writes, &present.collect());
            writes.push(note);
        }
        writes.extend(cut.map(cut::write));
        Ok((writes, changes))
    })
    .await
}

/// What people may apply, each object once.
fn read_wanted(documents: &[Document]) -> Result<Vec<Located<Object>>, ApiError> {
    let wanted = read_all(documents)?;
    refuse_nodes(&wanted)?;
    let keys: Vec<ObjectKey> = wanted.iter().map(|object| object.value.key()).collect();
    if let Some(twice) = keys.iter().enumerate().find(|(index, key)| keys[..*index].contains(key)) {
        let object = &wanted[twice.0];
        let message =
            format!("{}:{}: {} stands in the input twice; keep one of them", object.file, object.line, twice.1);
        return Err(invalid(message));
    }
    Ok(wanted)
}

/// What is to be written, and what that does.
fn plan(snapshot: &Snapshot, wanted: &[Located<Object>]) -> Result<(Vec<Write>, Vec<Change>), ApiError> {
    let objects: Vec<Object> = wanted.iter().map(|object| object.value.clone()).collect();
    validate(snapshot, &objects, &[], wanted)?;
    let mut writes = Vec::new();
    let mut changes = Vec::new();
    for object in objects {
        let key = object.key();
        let outcome = match snapshot.objects.get(&key) {
            Some((present, _)) if *present == object => Outcome::Unchanged,
            Some(_) => Outcome::Changed,
            None => Outcome::Created,
        };
        if outcome != Outcome::Unchanged {
            let value = keys::encode_fact(&Fact::Object(object));
            writes.push(Write::Put { key: StoreKey::Object(key.clone()).path(), value });
        }
        changes.push(change_line(&key, outcome));
    }
    Ok((writes, changes))
}

/// The kinds of tunnels that pools of these documents ask for.
pub fn tunnels_of(documents: &[Document]) -> BTreeSet<TunnelKind> {
    let objects = read_all(documents).unwrap_or_default();
    let kind = |object: &Located<Object>| match &object.value {
        Object::IPPool(pool) if pool.encapsulation.mode != EncapsulationMode::Never => Some(pool.encapsulation.device),
        _ => None,
    };
    objects.iter().filter_map(kind).collect()
}

/// The addresses of the WorkloadEndpoints of these documents.
pub fn workload_addresses(documents: &[Document]) -> Vec<IpAddr> {
    let objects = read_all(documents).unwrap_or_default();
    let addresses = objects.into_iter().filter_map(|object| match object.value {
        Object::WorkloadEndpoint(it) => Some(it.endpoint.addresses),
        _ => None,
    });
    addresses.flatten().collect()
}

/// Deletes what the documents hold and what is named, or nothing. `cut` as in [`apply`].
pub async fn delete(
    store: &dyn ClusterStore,
    documents: &[Document],
    names: &[ObjectName],
    cut: Option<&str>,
) -> Result<Changed, ApiError> {
    let located = read_all(documents)?;
    let mut keys: Vec<ObjectKey> = located.iter().map(|object| object.value.key()).collect();
    for name in names {
        keys.push(ObjectKey {
            kind: kind_from(&name.kind)?,
            namespace: name.namespace.clone(),
            name: name.name.clone(),
        });
    }
    change(store, |snapshot| {
        let present: Vec<ObjectKey> = keys.iter().filter(|key| snapshot.objects.contains_key(*key)).cloned().collect();
        validate(snapshot, &[], &present, &located)?;
        let named_absent = names.iter().zip(&keys[located.len()..]).find(|(_, key)| !present.contains(key));
        if let Some((_, key)) = named_absent {
            return Err(not_found(key.kind, key.namespace.as_deref(), &key.name));
        }
        let deletions = present.iter().map(|key| Write::Delete { key: StoreKey::Object(key.clone()).path() });
        let writes = deletions.chain(cut.map(cut::write)).collect();
        let changes = keys
            .iter()
            .map(|key| change_line(key, if present.contains(key) { Outcome::Deleted } else { Outcome::Absent }))
            .collect();
        Ok((writes, changes))
    })
    .await
}

/// Reads, decides and writes under the guard; decides anew when somebody else was faster.
pub(super) async fn change(
    store: &dyn ClusterStore,
    decide: impl Fn(&Snapshot) -> Result<(Vec<Write>, Vec<Change>), ApiError> + Send,
) -> Result<Changed, ApiError> {
    if !store.writable() {
        let what = format!("the store `{}` cannot be written", store.describe());
        return Err(invalid(format!(
            "{what}: edit the files that the node's configuration names, and send SIGHUP (or restart routenetd, for pools, networks and blocks)"
        )));
    }
    for _ in 0..ATTEMPTS {
        let snapshot = read(store).await?;
        let (mut writes, changes) = decide(&snapshot)?;
        if writes.is_empty() {
            return Ok(Changed { changes, revision: None });
        }
        let checks = vec![Check { key: GUARD.to_string(), revision: snapshot.guard }];
        writes.push(Write::Put { key: GUARD.to_string(), value: b"{}".to_vec() });
        match store.transact(checks, writes).await.map_err(unavailable)? {
            TxnOutcome::Committed(revision) => {
                info!(revision, objects = changes.len(), "objects changed");
                return Ok(Changed { changes, revision: Some(revision) });
            }
            TxnOutcome::Conflict(_) => {}
        }
    }
    let message = format!("others changed objects {ATTEMPTS} times meanwhile; nothing was written; try again");
    Err(ApiError { code: "conflict".into(), message })
}

pub(super) async fn read(store: &dyn ClusterStore) -> Result<Snapshot, ApiError> {
    // The guard first: whatever changes between the two reads fails its check.
    let guard = store.get(GUARD).await.map_err(unavailable)?.map_or(0, |entry| entry.revision);
    let (entries, _) = store.range(OBJECTS).await.map_err(unavailable)?;
    let mut objects = BTreeMap::new();
    for Entry { key, value, revision } in entries {
        match keys::decode_fact(&key, &value) {
            Ok(Fact::Object(object)) => {
                objects.insert(object.key(), (object, revision));
            }
            Ok(_) => return Err(internal(format!("{key} of the store holds no object"))),
            Err(error) => return Err(internal(error.to_string())),
        }
    }
    let (entries, _) = store.range(USES).await.map_err(unavailable)?;
    let read = |entry: &Entry| {
        serde_json::from_slice(&entry.value).map_err(|error| internal(format!("store key {}: {error}", entry.key)))
    };
    let uses = entries.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Snapshot { objects, uses, guard })
}

fn read_all(documents: &[Document]) -> Result<Vec<Located<Object>>, ApiError> {
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for document in documents {
        match read_documents(&document.file, &document.text) {
            Ok(found) => objects.extend(found),
            Err(found) => errors.extend(found),
        }
    }
    if errors.is_empty() { Ok(objects) } else { Err(invalid(render_errors(&errors))) }
}

fn refuse_nodes(objects: &[Located<Object>]) -> Result<(), ApiError> {
    match objects.iter().find(|object| matches!(object.value, Object::Node(_))) {
        None => Ok(()),
        Some(object) => Err(invalid(format!(
            "{}:{}: {}: a node is written by its own agent; set labels and addresses in that node's configuration",
            object.file,
            object.line,
            object.value.key()
        ))),
    }
}

pub(super) fn validate(
    snapshot: &Snapshot,
    changed: &[Object],
    deleted: &[ObjectKey],
    located: &[Located<Object>],
) -> Result<(), ApiError> {
    let existing: Vec<Object> = snapshot.objects.values().map(|(object, _)| object.clone()).collect();
    check_objects(&existing, changed, deleted).map_err(|problems| {
        let lines: Vec<String> = problems
            .iter()
            .map(|problem| problem.locate(located).map_or_else(|| problem.to_string(), |error| error.to_string()))
            .collect();
        invalid(lines.join("\n"))
    })
}

fn kind_from(word: &str) -> Result<Kind, ApiError> {
    Kind::from_word(word).map_err(|error| invalid(error.to_string()))
}

fn change_line(key: &ObjectKey, outcome: Outcome) -> Change {
    Change { kind: key.kind.to_string(), namespace: key.namespace.clone(), name: key.name.clone(), outcome }
}

fn not_found(kind: Kind, namespace: Option<&str>, name: &str) -> ApiError {
    let place = namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
    ApiError {
        code: "not-found".into(),
        message: format!("there is no {kind} `{name}`{place}; see: routectl get {kind}"),
    }
}

pub(super) fn invalid(message: String) -> ApiError {
    ApiError { code: "invalid".into(), message }
}

fn internal(message: String) -> ApiError {
    ApiError { code: "internal".into(), message }
}

pub(super) fn unavailable(error: StoreError) -> ApiError {
    ApiError { code: "unavailable".into(), message: error.to_string() }
}
