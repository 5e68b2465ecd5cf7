use super::{Suspect, knows_workloads, suspects};

const CHAINS: &str = "table ip filter {\n\tchain FORWARD {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n\
                      \tchain rn-FORWARD {\n\t}\n}\ntable inet firewalld {\n\tchain filter_INPUT {\n\
                      \t\ttype filter hook input priority filter + 10; policy accept;\n\t}\n\tchain filter_FORWARD {\n\
                      \t\ttype filter hook forward priority filter + 10; policy accept;\n\t}\n}\ntable inet mine {\n\
                      \tchain through {\n\t\ttype filter hook forward priority filter; policy drop;\n\t}\n}\n\
                      table inet open {\n\tchain through {\n\t\ttype filter hook forward priority filter; policy accept;\n\
                      \t}\n}\ntable bridge filter {\n\tchain forward {\n\
                      \t\ttype filter hook forward priority 0; policy drop;\n\t}\n}\n";

fn suspect(family: &str, table: &str, chain: &str) -> Suspect {
    Suspect { family: family.into(), table: table.into(), chain: chain.into() }
}

#[test]
fn firewalld_and_what_drops_by_policy_are_suspects_and_iptables_own_is_not() {
    let expected = [suspect("inet", "firewalld", "filter_FORWARD"), suspect("inet", "mine", "through")];
    assert_eq!(suspects(CHAINS), expected);
    assert_eq!(suspects(""), []);
}

#[test]
fn a_table_that_names_the_interfaces_is_none() {
    assert!(knows_workloads("\t\tiifname \"rnw*\" goto filter_FWD_trusted\n"));
    assert!(knows_workloads("\tchain filter_FORWARD_ZONES {\n\t\tgoto filter_FWD_trusted\n\t}\n"));
    assert!(!knows_workloads("\t\tiifname \"eth0\" goto filter_FWD_trusted\n\t\tgoto filter_FWD_public\n"));
}

#[test]
fn the_mend_is_said_with_the_table() {
    let told = suspect("inet", "mine", "through").told();
    assert!(told.what.contains("table inet mine"), "{told:?}");
    assert!(told.mend.starts_with("nft insert rule inet mine through iifname 'rnw*' accept"), "{told:?}");
    let told = suspect("inet", "firewalld", "filter_FORWARD").told();
    assert!(told.mend.contains("firewall-cmd --permanent --zone=trusted --add-interface=rnw+"), "{told:?}");
}
