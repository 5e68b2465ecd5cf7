use super::*;

#[test]
fn a_process_has_a_start_time_as_long_as_it_runs() {
    let own = i32::try_from(std::process::id()).expect("a process id");
    let start = start_time(own).expect("our own");
    assert_eq!(start_time(own).expect("our own, again"), start);
    let mut child = Command::new("true").spawn().expect("true");
    let pid = i32::try_from(child.id()).expect("a process id");
    child.wait().expect("its end");
    assert!(start_time(pid).is_err(), "ended and reaped");
}

#[test]
fn the_nodes_environment_outranks_ours() {
    let own = BTreeMap::from([("HOME".to_string(), "/elsewhere".to_string()), ("A".to_string(), "b".to_string())]);
    let all = environment(Path::new("/opt/bin"), &own);
    assert_eq!(all["HOME"], "/elsewhere");
    assert_eq!(all["A"], "b");
    assert!(all["PATH"].starts_with("/opt/bin:/usr/local/sbin:"));
}
