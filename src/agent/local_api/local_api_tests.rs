use super::*;
use routenet_core::model::config::ApiConfig;

struct Echo;

#[async_trait]
impl Handler for Echo {
    async fn handle(&self, request: Request) -> Reply {
        Reply::Ok(serde_json::to_value(request).unwrap())
    }
}

async fn exchange(path: &Path, line: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn it_answers_line_by_line_and_survives_garbage() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sub/agent.sock");
    let rules = AccessRules::from_config(&ApiConfig::default()).unwrap();
    let server = Server::bind(&path, rules.clone()).await.unwrap();
    let task = tokio::spawn(server.serve(Arc::new(Echo)));

    assert_eq!(exchange(&path, "{\"op\":\"status\"}\n").await, "{\"ok\":{\"op\":\"status\"}}\n");
    assert!(exchange(&path, "\u{1}garbage\n").await.contains(r#""code":"invalid""#));
    assert!(exchange(&path, "{\"op\":\"fly\"}\n").await.contains("unknown variant `fly`"));

    let error = Server::bind(&path, rules.clone()).await.err().unwrap();
    assert!(error.to_string().contains("another agent answers on this socket"), "{error}");
    task.abort();
    let _ = task.await;
    assert!(!path.exists(), "the socket's file is gone with the server");

    std::os::unix::net::UnixListener::bind(&path).unwrap();
    Server::bind(&path, rules.clone()).await.expect("a socket that nobody serves is replaced");

    std::fs::write(directory.path().join("file"), "").unwrap();
    let error = Server::bind(&directory.path().join("file/agent.sock"), rules).await.err().unwrap();
    assert!(error.to_string().contains("`paths.socket` names a directory that this user may write"), "{error}");
}
