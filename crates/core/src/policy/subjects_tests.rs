use super::*;
use crate::policy::testing::*;

fn subject(name: &str, pairs: &[(&str, &str)]) -> (SubjectKey, Subject) {
    let endpoint = endpoint("n1", "blue", name, &["10.65.0.1"], pairs);
    (SubjectKey::Endpoint(endpoint.node.clone(), endpoint.key.clone()), Places::default().endpoint(endpoint))
}

#[test]
fn a_subject_is_found_by_its_labels_until_it_is_gone() {
    let mut subjects = Subjects::default();
    let (key, web) = subject("a", &[("role", "web")]);
    subjects.replace(key.clone(), Some(web));
    let (other, client) = subject("b", &[("role", "client")]);
    subjects.replace(other, Some(client));
    let count = |subjects: &Subjects, text: &str| subjects.matching(&Selector::parse(text).unwrap()).count();
    assert_eq!(count(&subjects, "role == 'web'"), 1);
    assert_eq!(count(&subjects, "has(role)"), 2);
    assert_eq!(count(&subjects, "role in {'web', 'x'} || role == 'client'"), 2);
    assert_eq!(count(&subjects, "role != 'web'"), 1);
    subjects.replace(key.clone(), Some(subject("a", &[]).1));
    assert_eq!(count(&subjects, "role == 'web'"), 0);
    subjects.replace(key, None);
    assert_eq!(count(&subjects, "all()"), 1);
    assert!(!subjects.by_label["role"].contains_key("web"), "nothing is left behind in the index");
}

#[test]
fn nobody_claims_a_place_in_the_cluster_by_a_label() {
    let claims = [(NAMESPACE_LABEL, "prod"), ("pcns.projectcalico.org/name", "prod"), (NETWORK_LABEL, "green")];
    let (_, endpoint) = subject("a", &claims);
    assert_eq!(endpoint.label(NAMESPACE_LABEL), Some("default"));
    assert_eq!(endpoint.label("pcns.projectcalico.org/name"), Some("default"));
    assert_eq!(endpoint.label("pcns.team"), None);
    assert_eq!(endpoint.label(NETWORK_LABEL), Some("blue"));
    let set = NetworkSet { namespace: None, name: "s".into(), labels: labels(&claims), nets: Vec::new() };
    let set = Places::default().network_set(set);
    assert!(claims.iter().all(|(name, _)| set.label(name).is_none()));
    let mut seen = Vec::new();
    set.each_label(|name, _| seen.push(name.to_string()));
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn an_index_answers_the_selectors_that_may_match() {
    let mut index = SelectorIndex::default();
    for (key, text) in [(1, "role == 'web'"), (2, "has(role)"), (3, "!has(role)"), (4, "app == 'x' && has(role)")] {
        index.insert(&Selector::parse(text).unwrap(), &key);
    }
    let (_, web) = subject("a", &[("role", "web")]);
    assert_eq!(index.candidates(&web), BTreeSet::from([1, 2, 3]));
    index.remove(&Selector::parse("has(role)").unwrap(), &2);
    index.remove(&Selector::parse("!has(role)").unwrap(), &3);
    assert_eq!(index.candidates(&web), BTreeSet::from([1]));
}
