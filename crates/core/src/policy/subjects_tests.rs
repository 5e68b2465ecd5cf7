use super::*;
use crate::policy::testing::*;

fn subject(name: &str, pairs: &[(&str, &str)]) -> (SubjectKey, Subject) {
    let endpoint = endpoint("n1", "blue", name, &["10.65.0.1"], pairs);
    (SubjectKey::Endpoint(endpoint.node.clone(), endpoint.key.clone()), Places::default().endpoint(endpoint))
}

/// Puts an endpoint in the place of what there was under its key.
fn put(subjects: &mut Subjects, places: &mut Places, endpoint: &Endpoint) {
    subjects.remove(&SubjectKey::Endpoint(endpoint.node.clone(), endpoint.key.clone()));
    if subjects.is_small(endpoint) {
        let place = places.of_endpoint(endpoint);
        subjects.insert_remote(endpoint, &place);
    } else {
        let key = SubjectKey::Endpoint(endpoint.node.clone(), endpoint.key.clone());
        subjects.insert(key, places.endpoint(endpoint.clone()));
    }
}

fn count(subjects: &Subjects, text: &str) -> usize {
    let selector = Selector::parse(text).unwrap();
    subjects.whole_matching(&selector).count() + subjects.remote_matching(&selector).count()
}

#[test]
fn a_subject_is_found_by_its_labels_until_it_is_gone() {
    // Once kept whole, once small.
    for here in ["n1", "n2"] {
        let mut subjects = Subjects::of_node(&node(here));
        let mut places = Places::default();
        let of = |name: &str, pairs: &[(&str, &str)]| endpoint("n1", "blue", name, &["10.65.0.1"], pairs);
        put(&mut subjects, &mut places, &of("a", &[("role", "web")]));
        put(&mut subjects, &mut places, &of("b", &[("role", "client")]));
        assert_eq!(count(&subjects, "role == 'web'"), 1);
        assert_eq!(count(&subjects, "has(role)"), 2);
        assert_eq!(count(&subjects, "role in {'web', 'x'} || role == 'client'"), 2);
        assert_eq!(count(&subjects, "role != 'web'"), 1);
        assert_eq!(count(&subjects, "projectcalico.org/namespace == 'default'"), 2);
        assert_eq!(subjects.with_given(NAMESPACE_LABEL, "default").len(), 2);
        put(&mut subjects, &mut places, &of("a", &[]));
        assert_eq!(count(&subjects, "role == 'web'"), 0);
        for name in ["a", "b"] {
            subjects.remove(&SubjectKey::Endpoint(node("n1"), of(name, &[]).key));
        }
        assert_eq!(count(&subjects, "all()"), 0);
        assert!(subjects.by_label.is_empty() && subjects.remotes.has_forgotten_all(), "nothing is left behind");
    }
}

fn labels_of(party: &impl Party) -> BTreeSet<(String, String)> {
    let mut seen = BTreeSet::new();
    party.each_label(&mut |name, value| {
        seen.insert((name.to_string(), value.to_string()));
    });
    seen
}

#[test]
fn what_is_kept_small_comes_back_as_it_was() {
    let mut subjects = Subjects::of_node(&node("n1"));
    let mut places = Places::default();
    let plain = endpoint("n2", "blue", "a", &["10.65.0.1"], &[("role", "web"), (NAMESPACE_LABEL, "mine")]);
    let other = Endpoint {
        name: "pod".into(),
        service_account: Some("robot".into()),
        ports: vec![NamedPort { name: "http".into(), protocol: crate::model::Protocol::TCP, port: 80 }],
        profiles: Some(vec!["one".into()]),
        ..endpoint("n3", "green", "b", &["10.65.0.2", "fd65::2"], &[("role", "web")])
    };
    let nameless = Endpoint { name: String::new(), ..endpoint("n2", "blue", "c", &[], &[]) };
    for it in [&plain, &other, &nameless] {
        let place = places.of_endpoint(it);
        assert!(subjects.is_small(it) && !subjects.is_known(it, &place));
        put(&mut subjects, &mut places, it);
        assert!(subjects.is_known(it, &place));
    }
    for it in [&plain, &other, &nameless] {
        let key = SubjectKey::Endpoint(it.node.clone(), it.key.clone());
        let (small, whole) = (subjects.remote(&key).unwrap(), places.endpoint(it.clone()));
        assert_eq!(small.subject(), whole);
        for label in ["role", NAMESPACE_LABEL, NETWORK_LABEL, SERVICE_ACCOUNT_LABEL, "pcns.projectcalico.org/name", "x"]
        {
            assert_eq!(small.label(label), whole.label(label), "{label}");
        }
        assert_eq!(labels_of(&small), labels_of(&whole));
        assert_eq!((small.addresses(), small.ports()), (whole.addresses(), whole.ports()));
    }
    assert_eq!(subjects.endpoints().count(), 3);
    assert_eq!(subjects.holding("fd65::2".parse().unwrap()).len(), 1);
    let changed = Endpoint { labels: labels(&[("role", "db")]), ..plain };
    let place = places.of_endpoint(&changed);
    assert!(!subjects.is_known(&changed, &place));
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
    set.each_label(&mut |name, _| seen.push(name.to_string()));
    assert!(seen.is_empty(), "{seen:?}");
}

#[test]
fn an_index_answers_the_selectors_that_may_match() {
    let mut index = SelectorIndex::default();
    for (key, text) in [(1, "role == 'web'"), (2, "has(role)"), (3, "!has(role)"), (4, "app == 'x' && has(role)")] {
        index.insert(&Selector::parse(text).unwrap(), &key);
    }
    let (_, web) = subject("a", &[("role", "web")]);
    assert_eq!(index.candidates(&web), BTreeSet::from([&1, &2, &3]));
    index.remove(&Selector::parse("has(role)").unwrap(), &2);
    index.remove(&Selector::parse("!has(role)").unwrap(), &3);
    assert_eq!(index.candidates(&web), BTreeSet::from([&1]));
}
