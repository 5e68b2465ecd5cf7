//! TLS, client certificates and passwords.

use std::path::{Path, PathBuf};
use std::process::Command;

use etcd_client::{Client, Permission, PermissionType};
use routenet::store::{ClusterStore, EtcdStore, StoreError, Write};
use routenet_core::model::config::EtcdConfig;

use crate::etcd_server::{EtcdServer, answering, config};

fn openssl(folder: &Path, args: &[&str]) {
    let output = Command::new("openssl").current_dir(folder).args(args).output().expect("openssl (make deps)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An authority, and what it certified: the server's name is 127.0.0.1.
fn certificates(folder: &Path) {
    let subject = |name: &str| format!("/CN={name}");
    let new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(folder, &[new.as_slice(), &["-subj", &subject("test authority")]].concat());
    std::fs::write(
        folder.join("names"),
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth,clientAuth\n",
    )
    .unwrap();
    for name in ["server", "client"] {
        let (key, request, pem) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            folder,
            &["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject(name)],
        );
        let sign =
            ["x509", "-req", "-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names"];
        openssl(folder, &[sign.as_slice(), &["-in", &request, "-out", &pem]].concat());
    }
}

fn refused(error: &StoreError) -> &str {
    match error {
        StoreError::Refused { what, .. } => what,
        StoreError::Away(why) => panic!("away: {why}"),
    }
}

#[tokio::test]
async fn tls_with_a_client_certificate_and_none_without() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path();
    certificates(folder);
    let at = |name: &str| -> PathBuf { folder.join(name) };
    let flag = |name: &str, file: &str| format!("--{name}={}", at(file).display());
    let flags = [
        flag("cert-file", "server.pem"),
        flag("key-file", "server.key"),
        flag("trusted-ca-file", "ca.pem"),
        "--client-cert-auth".to_string(),
    ];
    let server = EtcdServer::start_with(folder, &flags);
    let endpoint = format!("https://127.0.0.1:{}", server.port);
    let trusted = EtcdConfig {
        ca_file: Some(at("ca.pem")),
        cert_file: Some(at("client.pem")),
        key_file: Some(at("client.key")),
        ..config(&[endpoint])
    };
    let store = EtcdStore::new(trusted.clone());
    answering(&store).await;
    store.transact(vec![], vec![Write::Put { key: "/x".into(), value: b"1".to_vec() }]).await.unwrap();

    let nameless = EtcdStore::new(EtcdConfig { cert_file: None, key_file: None, ..trusted.clone() });
    assert!(matches!(nameless.get("/x").await, Err(StoreError::Away(_))), "etcd asks for a certificate");
    let strange = EtcdStore::new(EtcdConfig { ca_file: None, ..trusted.clone() });
    assert!(matches!(strange.get("/x").await, Err(StoreError::Away(_))), "nobody certified this server");
    let missing = EtcdStore::new(EtcdConfig { ca_file: Some(at("nowhere.pem")), ..trusted });
    let error = missing.get("/x").await.unwrap_err();
    assert!(refused(&error).contains("store.caFile") && refused(&error).contains("nowhere.pem"), "{error}");
}

#[tokio::test]
async fn a_user_with_a_password_reads_and_writes_below_the_prefix_only() {
    let directory = tempfile::tempdir().unwrap();
    let server = EtcdServer::start(directory.path());
    answering(&EtcdStore::new(config(&[server.endpoint()]))).await;
    let mut root = Client::connect([server.endpoint()], None).await.unwrap();
    root.user_add("root", "secret", None).await.unwrap();
    root.user_grant_role("root", "root").await.unwrap();
    root.role_add("agent").await.unwrap();
    let below = Permission::new(PermissionType::Readwrite, "/routenet/").with_prefix();
    root.role_grant_permission("agent", below).await.unwrap();
    root.user_add("agent", "hush", None).await.unwrap();
    root.user_grant_role("agent", "agent").await.unwrap();
    root.auth_enable().await.unwrap();

    let password = directory.path().join("password");
    std::fs::write(&password, "hush\n").unwrap();
    let known = EtcdConfig {
        username: Some("agent".into()),
        password_file: Some(password.clone()),
        ..config(&[server.endpoint()])
    };
    let store = EtcdStore::new(known.clone());
    store.transact(vec![], vec![Write::Put { key: "/x".into(), value: b"1".to_vec() }]).await.unwrap();
    assert!(store.get("/x").await.unwrap().is_some());
    assert_eq!(store.range("").await.unwrap().0.len(), 1);

    let outside = EtcdStore::new(EtcdConfig { prefix: "/elsewhere".into(), ..known.clone() });
    assert!(refused(&outside.get("/x").await.unwrap_err()).contains("permission denied"));
    let nobody = EtcdStore::new(config(&[server.endpoint()]));
    assert!(refused(&nobody.get("/x").await.unwrap_err()).contains("user name is empty"));
    std::fs::write(&password, "wrong").unwrap();
    let error = EtcdStore::new(known).get("/x").await.unwrap_err();
    assert!(refused(&error).contains("authentication failed") && error.to_string().contains("passwordFile"), "{error}");
}
