use super::*;

#[test]
fn mount_points_with_blanks_are_decoded() {
    assert_eq!(unescape("/media/my\\040disk"), "/media/my disk");
    assert_eq!(unescape("/a\\134b\\011c"), "/a\\b\tc");
    assert_eq!(unescape("/plain"), "/plain");
    assert_eq!(unescape("/odd\\9"), "/odd\\9");
}

#[test]
fn parents_come_before_what_is_mounted_below_them() {
    let points = mount_points().expect("mountinfo");
    let root = points.iter().position(|point| point == Path::new("/")).expect("a root");
    let proc = points.iter().position(|point| point == Path::new("/proc")).expect("/proc");
    assert!(root < proc);
}
