use super::*;

fn via(hops: &[&str]) -> Via {
    hops.iter().map(|hop| hop.parse::<IpAddr>().expect("an address")).collect()
}

#[test]
fn next_hops_are_sorted_and_each_is_there_once_however_they_came() {
    let two = via(&["192.0.2.2", "192.0.2.3"]);
    assert_eq!(via(&["192.0.2.3", "192.0.2.2", "192.0.2.3"]), two);
    assert_eq!(two.iter().map(IpAddr::to_string).collect::<Vec<_>>(), ["192.0.2.2", "192.0.2.3"]);
    assert_eq!(via(&["192.0.2.2", "192.0.2.2"]), Via::from("192.0.2.2".parse::<IpAddr>().expect("an address")));
    assert_ne!(via(&["192.0.2.2"]), two);
    assert!(via(&[]).is_empty() && via(&[]) == Via::default());
}

#[test]
fn it_is_no_larger_than_a_vector() {
    assert_eq!((size_of::<Via>(), size_of::<Option<Via>>()), (size_of::<Vec<IpAddr>>(), size_of::<Vec<IpAddr>>()));
}
