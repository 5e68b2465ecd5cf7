use super::*;

fn binding(host_ip: &str, host_port: u16, host_port_end: u16) -> PortBinding {
    PortBinding { protocol: 6, port: 80, host_ip: host_ip.into(), host_port, host_port_end }
}

/// A port that something on this machine listens on, for as long as the listener lives.
fn busy() -> (TcpListener, u16) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

#[test]
fn a_port_that_the_host_listens_on_is_refused_and_a_range_steps_over_it() {
    let (_listener, port) = busy();
    let error = choose(&binding("", port, port), &[]).unwrap_err().message;
    assert_eq!(error, format!("-p {port}: port {port}/tcp is in use on the host"));
    let chosen = choose(&binding("", port, port.saturating_add(20)), &[]).unwrap();
    assert!(chosen.host_port > port);
}

#[test]
fn a_port_has_one_publisher_at_an_address() {
    let taken = [PublishedPort { protocol: Protocol::TCP, host_address: None, host_port: 61234, port: 1 }];
    let error = choose(&binding("127.0.0.1", 61234, 61234), &taken).unwrap_err().message;
    assert_eq!(error, "-p 61234: port 61234/tcp is published by another container");
    let udp = PortBinding { protocol: 17, ..binding("", 61234, 61234) };
    assert!(choose(&udp, &taken).is_ok(), "another protocol is another port");
    let here = "127.0.0.1".parse().ok();
    let apart = [PublishedPort { protocol: Protocol::TCP, host_address: here, host_port: 61234, port: 1 }];
    assert!(choose(&binding("127.0.0.2", 61234, 61234), &apart).is_ok());
}

#[test]
fn a_port_that_nobody_named_is_chosen() {
    let chosen = choose(&binding("", 0, 0), &[]).unwrap();
    assert!(ANY_PORT.contains(&chosen.host_port) && chosen.port == 80);
}

#[test]
fn what_cannot_be_published_is_refused_by_name() {
    let icmp = PortBinding { protocol: 1, ..binding("", 1, 1) };
    assert_eq!(choose(&icmp, &[]).unwrap_err().message, "-p: protocol icmp has no ports");
    let elsewhere = choose(&binding("192.0.2.77", 61235, 61235), &[]).unwrap_err().message;
    assert_eq!(elsewhere, "-p 61235: the host has no address 192.0.2.77");
}
