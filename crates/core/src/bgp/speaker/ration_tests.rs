use super::*;

const MOST: u32 = 10;

#[test]
fn reports_of_one_neighbour_are_rationed_and_none_is_lost_from_the_count() {
    let mut ration = Ration::default();
    let mut now = Time::from_secs(100);
    let reported =
        |ration: &mut Ration, now, times| (0..times).filter_map(|_| ration.take(MOST, now)).collect::<Vec<u64>>();
    assert_eq!(reported(&mut ration, now, 25), [0; MOST as usize]);
    now = now + (WINDOW - Duration::from_secs(1));
    assert_eq!(reported(&mut ration, now, 2), [0; 0]);
    now = now + Duration::from_secs(1);
    assert_eq!(reported(&mut ration, now, 2), [17, 0]);
}
