//! Documents to objects: the header, the metadata, and which reader a kind has.

use super::fields::{At, Fields, Report, listed};
use super::suggest::did_you_mean;
use super::{Located, YamlError, bgp, filter, host, kubernetes, policy, pool, tree, workload};
use crate::model::kind::{CALICO_VERSION, CORE_VERSION, KUBERNETES_VERSION, OWN_VERSION};
use crate::model::name::is_dns_subdomain;
use crate::model::{Kind, Labels, Namespace, Object, ObjectKey, ServiceAccount};

/// Kinds that people's files have and that are not built yet.
const LATER_KINDS: [&str; 5] = [
    "FelixConfiguration",
    "KubeControllersConfiguration",
    "ClusterInformation",
    "CalicoNodeStatus",
    "IPAMConfiguration",
];

/// What servers put into `metadata`, and what has no meaning to us: `get -o yaml` of Calico goes in as it is.
const METADATA_IGNORED: [&str; 8] = [
    "uid",
    "creationTimestamp",
    "resourceVersion",
    "generation",
    "managedFields",
    "selfLink",
    "finalizers",
    "ownerReferences",
];

/// The name and labels of an object.
pub struct Meta {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: Labels,
}

/// Reads all documents of a YAML text: objects, and lists of objects (`kind: List`, `kind: IPPoolList`). Answers all
/// errors of the file if there is any. `file` is its name for the errors.
pub fn read_documents(file: &str, text: &str) -> Result<Vec<Located<Object>>, Vec<YamlError>> {
    let report = Report::new(file);
    let (documents, broken) = tree::parse(text);
    let mut objects = Vec::new();
    for document in &documents {
        read_document(At::root(&report, document), &mut objects);
    }
    report.enter(None);
    if let Some(error) = broken {
        report.add(error.mark, "", error.what, None);
    }
    report_twins(&report, &objects);
    report.conclude(objects)
}

/// The same object twice in one file: which of the two was meant?
fn report_twins(report: &Report, objects: &[Located<Object>]) {
    let mut seen = std::collections::BTreeMap::<ObjectKey, usize>::new();
    for object in objects {
        let key = object.value.key();
        let name = key.to_string();
        if let Some(first) = seen.insert(key, object.line) {
            report.enter(Some(name));
            let mark = tree::Mark { line: object.line, column: 1 };
            report.add(mark, "", format!("defined twice: first on line {first}"), Some("remove one of them".into()));
        }
    }
}

fn read_document(at: At<'_>, objects: &mut Vec<Located<Object>>) {
    at.report().enter(None);
    let Some(mut fields) = at.fields() else { return };
    let version = fields
        .required("apiVersion", &format!("{CALICO_VERSION}, {KUBERNETES_VERSION}, {CORE_VERSION} or {OWN_VERSION}"));
    let kind = fields.required("kind", &kind_names());
    let version = version.and_then(|at| at.text().map(|text| (at, text)));
    let Some((kind_at, kind_text)) = kind.and_then(|at| at.text().map(|text| (at, text))) else { return };
    if let Some(items) = list_items(kind_text, &mut fields) {
        fields.ignore(&["metadata"]);
        fields.finish();
        for item in items {
            read_document(item.as_root(), objects);
        }
        return;
    }
    let version_text = version.as_ref().map_or("", |(_, text)| *text);
    let Some(kind) = known_kind(&kind_at, version_text, kind_text) else { return };
    at.report().enter(Some(kind.name().to_string()));
    if let Some((version_at, version)) = version
        && version != kind.api_version()
    {
        let what = format!("expected {} for this kind, found \"{version}\"", kind.api_version());
        version_at.fail::<()>(what, None);
    }
    let before = at.report().count();
    let object = read_object(kind, fields);
    if let Some(value) = object
        && at.report().count() == before
    {
        objects.push(Located { value, file: at.report().file().to_string(), line: at.line() });
    }
}

fn kind_names() -> String {
    let mut names: Vec<&str> = Kind::ALL.into_iter().map(Kind::written).collect();
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(*name));
    listed(names.into_iter(), "or")
}

/// The items, where the kind is a list's.
fn list_items<'t>(kind: &str, fields: &mut Fields<'t>) -> Option<Vec<At<'t>>> {
    let of = kind.strip_suffix("List")?;
    if !of.is_empty() && Kind::from_written("", of).is_none() {
        return None;
    }
    Some(fields.take("items").and_then(|items| items.list()).unwrap_or_default())
}

fn known_kind(at: &At<'_>, version: &str, text: &str) -> Option<Kind> {
    if let Some(kind) = Kind::from_written(version, text) {
        return Some(kind);
    }
    if LATER_KINDS.contains(&text) {
        return at.fail(format!("kind {text} is not built yet; expected {}", kind_names()), None);
    }
    let mend = did_you_mean(text, Kind::ALL.into_iter().map(Kind::written));
    at.fail(format!("unknown kind \"{text}\"; expected {}", kind_names()), mend)
}

fn read_object(kind: Kind, mut fields: Fields<'_>) -> Option<Object> {
    let meta = fields.required("metadata", "a name at least").and_then(|at| read_meta(kind, &at));
    if let Some(meta) = &meta {
        let key = ObjectKey { kind, namespace: meta.namespace.clone(), name: meta.name.clone() };
        fields.at().report().enter(Some(key.to_string()));
    }
    let spec = match kind {
        Kind::Namespace | Kind::ServiceAccount => {
            // What Kubernetes keeps in them says nothing to us.
            fields.ignore(&["spec", "secrets", "imagePullSecrets", "automountServiceAccountToken"]);
            None
        }
        Kind::Tier => fields.take("spec"),
        _ => fields.required("spec", "what the object says"),
    };
    fields.ignore(&["status"]);
    let place = fields.at().clone();
    fields.finish();
    // Without a name the rest is read all the same, for its errors.
    let named = meta.is_some();
    let meta = meta.unwrap_or_else(|| Meta { name: "unnamed".into(), namespace: None, labels: Labels::new() });
    let object = match kind {
        Kind::Namespace => Object::Namespace(Namespace { name: meta.name, labels: meta.labels }),
        Kind::ServiceAccount => {
            let namespace = meta.namespace.unwrap_or_default();
            Object::ServiceAccount(ServiceAccount { namespace, name: meta.name, labels: meta.labels })
        }
        Kind::Tier => Object::Tier(policy::read_tier(meta, &place, spec)?),
        Kind::KubernetesNetworkPolicy => {
            Object::KubernetesNetworkPolicy(kubernetes::read_kubernetes_policy(meta, spec?.fields()?)?)
        }
        Kind::StagedGlobalNetworkPolicy => {
            Object::StagedGlobalNetworkPolicy(policy::read_staged(Kind::GlobalNetworkPolicy, meta, spec?.fields()?)?)
        }
        Kind::StagedNetworkPolicy => {
            Object::StagedNetworkPolicy(policy::read_staged(Kind::NetworkPolicy, meta, spec?.fields()?)?)
        }
        Kind::StagedKubernetesNetworkPolicy => {
            Object::StagedKubernetesNetworkPolicy(kubernetes::read_staged(meta, spec?.fields()?)?)
        }
        Kind::HostEndpoint => Object::HostEndpoint(host::read_host_endpoint(meta, spec?.fields()?)?),
        Kind::WorkloadEndpoint => Object::WorkloadEndpoint(workload::read_workload_endpoint(meta, spec?.fields()?)?),
        Kind::Profile => Object::Profile(host::read_profile(&meta.name, spec?.fields()?)?),
        Kind::NetworkSet => Object::NetworkSet(policy::read_network_set(meta, spec?.fields()?)?),
        Kind::IPPool => Object::IPPool(pool::read_pool(&meta.name, spec?.fields()?)?),
        Kind::Network => Object::Network(pool::read_network(&meta.name, spec?.fields()?)?),
        Kind::GlobalNetworkSet => Object::GlobalNetworkSet(policy::read_network_set(meta, spec?.fields()?)?),
        Kind::GlobalNetworkPolicy => Object::GlobalNetworkPolicy(policy::read_policy(kind, meta, spec?.fields()?)?),
        Kind::NetworkPolicy => Object::NetworkPolicy(policy::read_policy(kind, meta, spec?.fields()?)?),
        Kind::Node => Object::Node(bgp::read_node(meta, spec?.fields()?)?),
        Kind::BGPPeer => Object::BGPPeer(bgp::read_peer(&meta.name, spec?.fields()?)?),
        Kind::BGPFilter => {
            let mut spec = spec?.fields()?;
            let filter = filter::read_filter(&meta.name, &mut spec);
            spec.finish();
            Object::BGPFilter(filter?)
        }
        Kind::BGPConfiguration => Object::BGPConfiguration(bgp::read_configuration(&meta.name, spec?.fields()?)?),
        Kind::IPReservation => Object::IPReservation(pool::read_reservation(&meta.name, spec?.fields()?)?),
    };
    named.then_some(object)
}

fn read_meta(kind: Kind, at: &At<'_>) -> Option<Meta> {
    let mut fields = at.fields()?;
    let name = fields.required("name", "a name").and_then(|at| read_name(&at));
    let namespace = fields.take("namespace").and_then(|at| {
        if !kind.is_namespaced() {
            return at.fail(format!("a {kind} lies in no namespace"), Some("remove it".to_string()));
        }
        read_name(&at)
    });
    let labels = fields.take("labels").and_then(|at| read_labels(&at)).unwrap_or_default();
    if let Some(annotations) = fields.take("annotations") {
        annotations.entries();
    }
    fields.ignore(&METADATA_IGNORED);
    fields.finish();
    let namespace = kind.is_namespaced().then(|| namespace.unwrap_or_else(|| "default".to_string()));
    Some(Meta { name: name?, namespace, labels })
}

/// The name of an object or namespace.
fn read_name(at: &At<'_>) -> Option<String> {
    let name = at.text()?;
    if is_dns_subdomain(name) {
        return Some(name.to_string());
    }
    at.fail(
        format!("\"{name}\" is not a valid name: expected lower-case letters, digits, `-` and `.` (RFC 1123)"),
        None,
    )
}

/// Labels: keys that a selector can name, values without line breaks.
pub fn read_labels(at: &At<'_>) -> Option<Labels> {
    let mut labels = Labels::new();
    for (key, value) in at.entries()? {
        let sound = !key.text.is_empty()
            && key.text.len() <= 512
            && key.text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-'));
        if !sound {
            let expected = "expected letters, digits, `_`, `.`, `/` and `-`, at most 512 characters";
            value.fail::<()>(format!("\"{}\" is not a valid label: {expected}", key.text), None);
            continue;
        }
        let Some(text) = value.text() else { continue };
        if text.chars().any(char::is_control) {
            value.fail::<()>("a label's value has no line breaks or control characters", None);
            continue;
        }
        labels.insert(key.text.clone(), text.to_string());
    }
    Some(labels)
}
