use super::*;

#[test]
fn every_word_of_a_kind_names_it_and_no_other() {
    let mut seen = std::collections::BTreeSet::new();
    for kind in Kind::ALL {
        assert_eq!(Kind::from_word(kind.word()), Ok(kind));
        assert_eq!(Kind::from_word(kind.name()), Ok(kind));
        assert_eq!(Kind::from_written(kind.api_version(), kind.written()), Some(kind));
        for word in kind.aliases().iter().chain([&kind.word()]) {
            assert_eq!(Kind::from_word(word), Ok(kind));
            assert!(seen.insert(*word), "{word} names two kinds");
        }
    }
}

#[test]
fn an_unknown_word_is_told_its_neighbour_or_all_kinds() {
    let error = Kind::from_word("ipool").expect_err("no kind");
    assert_eq!(error.to_string(), "unknown kind \"ipool\" (did you mean ippool?)");
    let error = Kind::from_word("deployment").expect_err("no kind");
    assert_eq!(
        error.to_string(),
        "unknown kind \"deployment\"; expected ippool, node, network, globalnetworkpolicy, networkpolicy, \
         globalnetworkset, bgppeer, bgpfilter, bgpconfiguration, ipreservation, tier, networkset, namespace, \
         serviceaccount, hostendpoint, workloadendpoint, profile, kubernetesnetworkpolicy, stagedglobalnetworkpolicy, stagednetworkpolicy or \
         stagedkubernetesnetworkpolicy"
    );
}
