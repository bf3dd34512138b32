use futures_util::StreamExt;
use futures_util::stream;

use super::*;
use crate::http::{NoFile, OpenedFile};

/// Opens the paths of a container that has a folder, a file, a device, and an engine in trouble.
pub fn open(path: &str) -> Result<OpenedFile, NoFile> {
    let body = stream::iter([Ok("hello ".into()), Ok("file".into())]).boxed();
    match path {
        "/workspace" => Ok(OpenedFile { size: None, body }),
        "/dev/null" => Err(NoFile::Special),
        "/missing" => Err(NoFile::Path),
        "/away" => Err(NoFile::Engine("it does not answer".into())),
        "/gone" => Err(NoFile::Container),
        _ => Ok(OpenedFile { size: Some(10), body }),
    }
}

#[tokio::test]
async fn a_file_is_sent_as_it_is_and_a_folder_as_a_tar() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    for (path, media_type, length) in
        [("workspace/report%20one.xml", "application/octet-stream", "10"), ("workspace", "application/x-tar", "")]
    {
        let answer = send(server.as_role("build", "GET", &format!("/job/{id}/files/{path}"))).await;
        assert_eq!((answer.status, answer.text()), (200, "hello file".into()), "{path}");
        assert_eq!((answer.header("content-type"), answer.header("content-length")), (media_type, length), "{path}");
        assert_eq!(answer.header("content-disposition"), "attachment");
    }
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_with_the_reason() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    for (path, status, why) in [
        ("missing", 404, "The container of the test has no /missing"),
        ("dev/null", 409, "/dev/null is neither a file nor a folder"),
        ("away", 502, "The engine of the job gives no answer: it does not answer"),
        ("a%2F..%2F..%2Fetc/shadow", 400, "A path of a container has no part .."),
        ("a%00b", 400, "and no NUL"),
    ] {
        let answer = send(server.as_role("build", "GET", &format!("/job/{id}/files/{path}"))).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(why), "{path}: {}", answer.text());
    }
    let gone = send(server.as_role("build", "GET", &format!("/job/{id}/files/gone"))).await;
    assert!(gone.text().contains(&format!("No container is kept of the test of job {id}")), "{}", gone.text());
    assert_eq!(send(server.as_role("read", "GET", &format!("/job/{id}/files/a"))).await.status, 403);
    let unknown = format!("/job/{}/files/a", JobId::new());
    assert_eq!(send(server.as_role("build", "GET", &unknown)).await.status, 404);
}
