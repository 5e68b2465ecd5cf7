use super::*;

fn network() -> NetworkName {
    NetworkName::new("web").unwrap()
}

#[test]
fn errors_name_the_network_the_pools_and_the_mend() {
    let pool = PoolName::new("small").unwrap();
    let refusals = vec![
        PoolRefusal::Unknown(PoolName::new("gone").unwrap()),
        PoolRefusal::Disabled(pool.clone()),
        PoolRefusal::OtherNodes { pool: pool.clone(), selector: "rack == '2'".into() },
    ];
    assert_eq!(
        IpamError::NoPool { network: network(), refusals }.to_string(),
        "network web has no pool that this node may use: IPPool gone does not exist; IPPool small is disabled; IPPool \
         small is for other nodes (nodeSelector: rack == '2')"
    );
    let fill = PoolFill { pool, cidr: "10.0.0.0/25".parse().unwrap(), block_size: 26, claimed: 2, blocks: 2 };
    let full = IpamError::PoolFull { network: network(), family: Family::V4, pools: vec![fill] };
    assert_eq!(
        full.to_string(),
        "network web has no free IPv4 address for this node: IPPool small (10.0.0.0/25): 2 of 2 blocks of /26 are \
         claimed (add a pool to the network, or free addresses; `routectl ipam show` lists them)"
    );
    assert!(!full.try_again());
}

#[test]
fn what_rests_is_worth_trying_again() {
    let error = |ready_in| IpamError::Cooling { network: network(), family: Family::V6, resting: 3, ready_in };
    assert!(error(None).try_again());
    assert!(error(None).to_string().contains("wait for the cluster store to acknowledge"));
    assert!(error(Some(Duration::from_secs(4))).to_string().contains("another 5 s (try again)"));
}
