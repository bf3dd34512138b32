//! Every message of the HTTP API, once: what an answer says and what docs/troubleshooting.md says about it cannot differ.

use crate::model::Advice;

/// A refusal that a client can meet. Each `…` of the text stands for a value.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub status: u16,
    /// The code of restify 2, the web framework of totem.
    pub code: &'static str,
    pub text: &'static str,
    cause: &'static str,
    cure: &'static str,
}

impl Message {
    /// Returns the text with the values in the place of its `…`, in their order.
    pub fn with<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> String {
        let mut parts = self.text.split('…');
        let mut text = parts.next().unwrap_or_default().to_owned();
        for (value, part) in values.into_iter().zip(parts) {
            text += value;
            text += part;
        }
        text
    }
}

macro_rules! messages {
    ($($name:ident: $status:literal $code:literal, $text:literal, $cause:literal, $cure:literal;)*) => {
        $(pub static $name: Message =
            Message { status: $status, code: $code, text: $text, cause: $cause, cure: $cure };)*
        static ALL: &[&Message] = &[$(&$name),*];
    };
}

messages! {
    UNKNOWN_JOB: 404 "ResourceNotFound", "Unable to locate job with id: …",
        "The path names a job that this daemon does not have.",
        "Take the id from the list of jobs (GET /job).";
    UNKNOWN_NOTIFICATION: 404 "ResourceNotFound", "Unable to locate notification with id: …",
        "The path names a notification that this daemon does not have.",
        "Take the id from the list of notifications (GET /notifications).";
    UNKNOWN_DELIVERY: 404 "ResourceNotFound", "Unable to locate delivery with id: …",
        "The delivery is older than 30 days, or another daemon accepted it.",
        "Take the id from the list of deliveries (GET /deliveries).";
    AMBIGUOUS_ID: 409 "ConflictError", "Several ids begin with …: give more of the id",
        "The beginning of an id in the path is not unique.",
        "Give more characters of it; ids that were made in the same minute have the same first eight.";
    UNKNOWN_TOKEN: 404 "ResourceNotFound", "Unable to locate token with name: …",
        "No token of this name was made by POST /tokens, or it was revoked already.",
        "Take the name from the list of tokens (GET /tokens).";
    UNKNOWN_ENGINE: 404 "ResourceNotFound", "No engine begins with …; there are: …",
        "The path names an engine that the daemon does not have.",
        "Take the name, or the beginning of it, or the number from the list of engines (GET /engines).";
    AMBIGUOUS_ENGINE: 409 "ConflictError", "Several engines begin with …: give more of the name, or the number; there are: …",
        "The beginning of an engine's name in the path is not unique.",
        "Give more characters of it, or its number in the list of engines (GET /engines).";
    UNKNOWN_SCHEMA: 404 "ResourceNotFound", "Unable to locate schema: …",
        "There is no schema of this name.",
        "Use ROOT, job, job-list, job-create or github-hook.";
    UNKNOWN_PATH: 404 "ResourceNotFound", "… does not exist",
        "The API has no such path.",
        "Check the address and BASE_URL against api.md.";
    WRONG_METHOD: 405 "MethodNotAllowedError", "… is not allowed",
        "The path exists, but not for this method.",
        "Use a method that the header Allow of the answer names.";
    NO_CONTAINER: 404 "ResourceNotFound", "No container is kept of the test of job …",
        "The job was not tested or runs, GARBAGE_COLLECT was 1, or KEEP_CONTAINERS removed the container.",
        "The operator sets GARBAGE_COLLECT=0; then rebuild the job.";
    NO_FILE: 404 "ResourceNotFound", "The container of the test has no …",
        "The path does not exist in the container in which the job was tested.",
        "Correct the path; the files of the commit are in /workspace.";
    SPECIAL_FILE: 409 "ConflictError", "… is neither a file nor a folder",
        "The path in the container is a device, a socket or a pipe.",
        "Name a file or a folder.";
    BAD_FILE_PATH: 400 "InvalidArgument", "A path of a container has no part .. and no NUL",
        "The path of GET /job/ID/files/PATH has such a part.",
        "Write the path from the root of the container.";
    NO_ENGINE: 502 "BadGatewayError", "The engine of the job gives no answer: …",
        "The Docker Engine that has the container is away or in trouble.",
        "Ask again when the engine is well again.";
    BAD_JSON: 400 "InvalidContent", "Invalid JSON: …",
        "The body cannot be parsed as JSON.",
        "Correct the body where the message says.";
    MISSING: 400 "InvalidContent", "Missing required property: …",
        "The body lacks a property that a job needs.",
        "Add the property to the object that `path` names.";
    WRONG_TYPE: 400 "InvalidContent", "invalid type: … (expected …)",
        "A property has a value of another JSON type.",
        "Send the expected type at `path`.";
    TOO_LONG: 400 "InvalidContent", "String is too long (… chars), maximum …",
        "A text has more than 4,096 bytes, or the sender's own names have more than 16 KB together.",
        "Shorten the value that `path` names.";
    WRONG_PATTERN: 400 "InvalidContent", "String does not match pattern …: …",
        "A tag is not valid for a registry, or a text contains a NUL.",
        "Send a value that matches the pattern.";
    WRONG_FORMAT: 400 "InvalidContent", "Object didn't pass validation for format …: … (…)",
        "dockerRepoBase is not a name that a registry takes.",
        "Send a name such as quay.io/totem; the parentheses say what is wrong with yours.";
    SLASH: 400 "InvalidContent", "… has a '/' in it, which no name has: …; send owner and repo apart",
        "The owner or the repo is a path, such as acme/hello.",
        "Send the owner alone as owner and the repository's name alone as repo.";
    CONTROL_CHARACTER: 400 "InvalidContent", "the … … has a control character, which no such name has",
        "An owner, a repo, a branch, a ref, a commit or a tag contains a line break or another control character.",
        "Send the name as the forge and Git show it; `git ls-remote` lists branches and tags.";
    BAD_IMAGE: 400 "InvalidContent", "image is not valid: …",
        "The image that the request asks for cannot be a name below the repository's own.",
        "Shorten or correct the image's name.";
    SECRET_ARGUMENT: 400 "InvalidContent",
        "buildArgs/… has a secret of this daemon in it, and everyone who has the image could read it there",
        "The value of a build argument contains a secret of the daemon.",
        "Remove the secret from the argument; a Dockerfile must do without it.";
    SECRET_DOCKERFILE: 400 "InvalidContent",
        "The Dockerfile has a secret of this daemon in it, and everyone who has the image could read it there",
        "The text of a Dockerfile that came with a request contains a secret of the daemon.",
        "Remove the secret from the Dockerfile.";
    BAD_QUERY: 400 "InvalidArgument", "The query cannot be read: …",
        "The query of the address is malformed, or names a parameter twice.",
        "Correct the query.";
    PARAMETER: 400 "InvalidArgument", "The parameter … cannot be used: …",
        "A parameter of GET /b1/build is missing, malformed or not offered.",
        "Correct the parameter as the message says.";
    BAD_UPGRADE: 400 "InvalidArgument", "The WebSocket cannot be opened: …",
        "The request has Upgrade: websocket, and another header of RFC 6455 is missing or wrong.",
        "Open it with a library for WebSockets, by GET and version 13.";
    BAD_TOKEN: 400 "InvalidContent", "The token cannot be made: …",
        "The name, the role or the repositories of a new token are not valid.",
        "Correct what the message names.";
    BAD_LIMIT: 400 "InvalidArgument", "limit is a number from 1 to …",
        "The parameter limit is not such a number.",
        "Send a number in that range, or leave limit out.";
    BAD_CURSOR: 400 "InvalidArgument", "cursor is the id of a …",
        "The parameter cursor is not an id.",
        "Follow the Link of the page before.";
    BRANCH_ALONE: 400 "InvalidArgument", "branch needs repository=OWNER/REPO beside it",
        "A list was filtered by branch but not by repository.",
        "Add repository=OWNER/REPO to the query.";
    BAD_STATUS: 400 "InvalidArgument", "status is pending, running, success, failure or cancelled",
        "A list was filtered by a status that does not exist.",
        "Use one of the five.";
    BAD_ORDER: 400 "InvalidArgument", "order is asc or desc",
        "A list was asked for in an order that does not exist.",
        "Send asc for the oldest first, or desc for the newest first.";
    BAD_COMMIT: 400 "InvalidArgument", "commit is the id of a commit, or its first 4 digits or more",
        "A list was filtered by a commit that is no hexadecimal id.",
        "Send 4 to 64 hexadecimal digits.";
    BAD_TIME: 400 "InvalidArgument", "updatedSince is a time such as 2026-11-20T22:59:27.930Z",
        "A list was filtered by a time that is not written as RFC 3339 has it.",
        "Send such a time, with a + in it written as %2B.";
    BAD_STATE: 400 "InvalidArgument", "state is one of …",
        "A list was filtered by a state that does not exist.",
        "Use one of the states that the message lists.";
    BAD_JOB_FILTER: 400 "InvalidArgument", "job is the id of a job",
        "Notifications were filtered by a text that is not a job's id.",
        "Take the id from the list of jobs.";
    BAD_BUILD: 400 "InvalidContent", "The build cannot be made: …",
        "The body of POST /builds, or of a webhook of Conveyor's or compose-ci's, names no usable repository, branch or commit.",
        "Send the repository as OWNER/REPO, and the commit's id, or to Conveyor's API a branch.";
    NO_BRANCH: 400 "InvalidArgument", "… has no branch …",
        "POST /builds or a webhook names a branch without a sha, and the Git server has no such branch.",
        "Correct the branch's name, or send the sha.";
    NO_HEAD: 502 "BadGatewayError", "The Git server cannot be asked for the head of …: …",
        "POST /builds or a webhook names a branch without a sha, and the Git server gives no answer.",
        "Send the sha, or do what the message says about the server.";
    BROKEN_BODY: 400 "InvalidArgument", "The body broke off: …",
        "The connection ended before the whole body had arrived.",
        "Send the request again, and look for a proxy that cuts bodies off.";
    MEDIA_TYPE: 415 "UnsupportedMediaTypeError",
        "Send the job as application/json or application/vnd.sh.melt.cdp.if.job-create.v1+json",
        "The header Content-Type names another type, such as a form's.",
        "Set Content-Type to one of the two.";
    CONTENT_ENCODING: 415 "UnsupportedMediaTypeError",
        "The body is encoded as …: send it as it is, or with Content-Encoding: gzip",
        "The header Content-Encoding names an encoding that is not understood.",
        "Leave the encoding out, or use gzip.";
    BAD_GZIP: 400 "InvalidContent", "The body cannot be unpacked: …",
        "The header Content-Encoding says gzip, and the body is no gzip or is cut off.",
        "Send a whole gzip, or leave Content-Encoding out.";
    TOO_LARGE: 413 "RequestEntityTooLargeError", "The body is longer than … bytes",
        "A job's description has more than 1 MB, or a webhook more than GitHub's 25 MB.",
        "Send a smaller body.";
    SLOW_BODY: 408 "RequestTimeoutError", "The body did not come in time",
        "The body took longer than 20 s.",
        "Send it again over a faster connection.";
    BUSY: 503 "ServiceUnavailableError", "Too many large requests are on their way: send it again later",
        "Bodies above 64 KB take more than 128 MB together.",
        "Wait for as long as Retry-After says, then send it again.";
    SLOW_BODIES: 503 "ServiceUnavailableError",
        "Too many requests whose bodies come slowly are on their way: send it again later",
        "256 requests had begun after this one, and its body had not come yet.",
        "Wait for as long as Retry-After says, then send it again over a faster connection.";
    ANSWERS: 503 "ServiceUnavailableError", "Too many answers with jobs are on their way: ask again later",
        "Answers that their clients have not read take an eighth of MEMORY_BUDGET together.",
        "Wait for as long as Retry-After says; if it recurs, the operator raises MEMORY_BUDGET.";
    FOLLOWERS: 503 "ServiceUnavailableError", "All … places of those who follow a log are taken: ask again later",
        "The daemon's open files (LimitNOFILE) leave no place for another follower.",
        "Follow it later; the operator raises LimitNOFILE or ends followers.";
    PLACES: 503 "ServiceUnavailableError", "All places for connections are taken: send it again later",
        "The last places are kept for webhooks, /health, /ready and /metrics.",
        "Wait for as long as Retry-After says, then send it again.";
    ADDRESS: 503 "ServiceUnavailableError", "All … places of your address are taken: end some connections, then send it again",
        "One address has a quarter of the places, and a proxy's requests count for those who sent them.",
        "End connections of that address, or have the operator name the proxy in TRUSTED_PROXIES.";
    TIMEOUT: 503 "ServiceUnavailableError", "The answer did not get ready in time: send it again later",
        "A handler took longer than 30 s, most often because the disk is slow.",
        "Send it again; if it recurs, the operator looks at the disk of DATA_DIR.";
    SIGNATURE: 401 "InvalidCredentials",
        "Mismatch in computed signature and the passed signature of the request payload.",
        "The webhook was signed with another secret than HOOK_SECRET, or not at all.",
        "Set the same secret in the webhook's settings and in HOOK_SECRET.";
    HUB_SIGNATURE: 403 "NotAuthorized",
        "The provided signature in the X-Hub-Signature header does not match.",
        "A webhook of Conveyor's was signed with another secret than HOOK_SECRET, or not at all.",
        "Set the same secret in the webhook's settings and in HOOK_SECRET.";
    CI_TOKEN: 401 "InvalidCredentials", "A webhook of compose-ci's needs CI_TOKEN, once, as ?token= in its address",
        "The address of a POST that no route takes has no token, another one, or two. The answer has no body.",
        "Set the webhook's address to BASE_URL/?token=CI_TOKEN, or correct the path of another request.";
    OTHER_EVENT: 404 "ResourceNotFound", "404 page not found",
        "A webhook of Conveyor's reports another event than ping or push.",
        "Have the forge send the push event alone.";
    NO_HOOK_SECRET: 503 "ServiceUnavailableError",
        "Webhooks are not accepted yet: set HOOK_SECRET here, and the same secret in the hook's settings",
        "HOOK_SECRET is not set.",
        "The operator sets HOOK_SECRET and restarts the daemon.";
    UNREAD_FORGE: 501 "NotImplementedError",
        "The pushes of … are not read here yet: have its pipeline ask for the job by POST /job",
        "The webhook has the headers of GitLab, Bitbucket or Gitee.",
        "Call `image-factory build` or POST /job from a pipeline of that forge.";
    CREDENTIALS: 401 "InvalidCredentials",
        "A valid token is needed, as Authorization: Bearer TOKEN or as the password of basic authentication",
        "The request has no token, or one that the daemon does not know.",
        "Send a token of API_TOKENS or of POST /tokens, or the one in DATA_DIR/admin-token.";
    READ_ONLY: 403 "NotAuthorized", "This token may only read: use a token of the role build or admin",
        "A token of the role read was sent with a request that changes something.",
        "Use a token of the role build or admin.";
    ADMIN_ONLY: 403 "NotAuthorized", "Tokens, the state of the secrets, and changes of engines need the role admin",
        "A token of a lower role was used.",
        "Use a token of the role admin.";
    LIMITED: 403 "NotAuthorized", "This token is for … alone, and this concerns all repositories",
        "A token that is limited to some repositories was used for the metrics or for something of the operator's.",
        "Use a token without limits.";
    OTHER_REPOSITORY: 403 "NotAuthorized", "This token is for …, not for …",
        "A token that is limited to some repositories was used for another one.",
        "Use a token of this repository, or have an admin make one.";
    UNKNOWN_HOST: 403 "NotAuthorized", "The Host … is not known here: set BASE_URL to it or add it to HOSTS, or send a token as Bearer",
        "A request without a token, or a change with a password, must come to a known host.",
        "The operator sets BASE_URL or HOSTS to the names that people use, or you send a token as Bearer.";
    FOREIGN_PAGE: 403 "NotAuthorized", "Another web page sent this request: send a token as Bearer with it",
        "A browser sent the request for a page of another origin, with a password that it knows, or without a token.",
        "Send a token as Bearer, or have the operator add the page to CORS_ORIGINS.";
    FETCHER: 403 "NotAuthorized", "… is what engines call themselves when they fetch for a Dockerfile: send a token as Bearer",
        "With API_AUTH=none a request without a token has the User-Agent of a Docker engine or of Git.",
        "Send a token as Bearer, or have the program call itself by its own name.";
    BROWSER: 403 "NotAuthorized", "A browser sent this request, and a GET that makes a job is for programs alone: send it by curl",
        "GET /b1/build has a header that browsers add, such as Sec-Fetch-Site or Origin, or a browser's User-Agent.",
        "Send it from a program, and with a token as Bearer if it calls itself Mozilla.";
    OTHER_BASE: 403 "NotAuthorized", "Another dockerRepoBase than the configured one needs the role admin",
        "The request names a dockerRepoBase that is not DOCKER_REPO_BASE.",
        "Leave dockerRepoBase out, or use a token of the role admin.";
    REPLAY_ROLE: 403 "NotAuthorized", "Sending a notification again needs the role admin",
        "A token of a lower role was used.",
        "Use a token of the role admin.";
    REPOSITORY: 403 "NotAuthorized", "… is not built here: the operator must name it in ALLOW_REPOS",
        "ALLOW_REPOS is set and does not name the repository.",
        "The operator adds the repository or its owner to ALLOW_REPOS.";
    IMAGE: 403 "NotAuthorized",
        "… is not below …: leave the name to the daemon, or have its operator set IMAGES_ALLOWED=…=…",
        "The request asks for an image outside of the repository's own name.",
        "Leave image out, name one below the repository's own, or have the operator grant it.";
    NOT_GRANTED: 403 "NotAuthorized",
        "No Dockerfile without a repository may become …: have the operator set IMAGES_ALLOWED=generator=…",
        "A request brought its Dockerfile with it, and IMAGES_ALLOWED grants its image to no such request.",
        "The operator grants images of that registry and path by IMAGES_ALLOWED.";
    TOKEN_EXISTS: 409 "ConflictError", "There is a token … already: revoke it, or take another name",
        "A token of the store or of the settings has this name.",
        "Revoke the other one first, or take another name.";
    TOKEN_OF_SETTINGS: 409 "ConflictError", "The token … comes from API_TOKENS or DATA_DIR/admin-token: remove it there, and reload the daemon (SIGHUP)",
        "A token of API_TOKENS, or the one in DATA_DIR/admin-token, cannot be revoked by the API.",
        "Remove it where it is; without DATA_DIR/admin-token the next start or reload makes another one.";
    BUILDING: 409 "ConflictError", "a build for this sha is already pending or building",
        "By Conveyor's API, a commit of a repository is built once at a time.",
        "Follow the build that GET /builds/OWNER/REPO@SHA shows, or wait for its end.";
    ENDED: 409 "ConflictError", "The job has ended already: …",
        "A job that has ended cannot be cancelled.",
        "Nothing is to be done.";
    UNFINISHED: 409 "ConflictError", "The job has not ended yet: …",
        "Only an ended job can be rebuilt.",
        "Wait for its end, or cancel it first.";
    NOT_DEAD: 409 "ConflictError", "The notification is …: only a dead one is sent again",
        "The notification was sent, was replaced, or is still being tried.",
        "Nothing is to be done.";
    RANGE: 416 "RequestedRangeNotSatisfiableError", "The log has … bytes so far",
        "The header Range begins behind the end of the log.",
        "Ask for a range that begins earlier, or follow the log.";
    UNSTORABLE: 503 "ServiceUnavailableError", "Nothing can be stored now: send it again later",
        "The disk of DATA_DIR is full, read-only or too slow, or the daemon is stopping.",
        "The operator makes room on the disk; the log names the cause.";
    INTERNAL: 500 "InternalError", "An internal error occurred: the operator finds it in the log under request id …",
        "The daemon has a fault.",
        "Report it with the line of the log that has the request id.";
}

/// The rows of docs/troubleshooting.md for this module.
pub fn advice() -> Vec<Advice> {
    ALL.iter().map(|m| Advice { code: m.code, text: m.text, cause: m.cause, cure: m.cure }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::secret_argument;

    #[test]
    fn values_fill_the_gaps_in_order() {
        assert_eq!(WRONG_TYPE.with(["null", "string"]), "invalid type: null (expected string)");
        assert_eq!(SLOW_BODY.with([]), "The body did not come in time");
    }

    /// The pipeline refuses such an argument, too, in the same words.
    #[test]
    fn the_pipeline_says_the_same_about_a_secret() {
        assert_eq!(secret_argument("A"), SECRET_ARGUMENT.with(["A"]));
        assert_eq!(crate::logs::SECRET_DOCKERFILE, SECRET_DOCKERFILE.text);
    }

    #[test]
    fn no_text_stands_twice_and_no_sentence_is_long() {
        let rows = advice();
        for (index, row) in rows.iter().enumerate() {
            assert!(rows[..index].iter().all(|other| other.text != row.text), "{}", row.text);
            for sentence in [row.text, row.cause, row.cure] {
                assert!(sentence.split_whitespace().count() <= 25, "{sentence}");
            }
        }
    }
}
