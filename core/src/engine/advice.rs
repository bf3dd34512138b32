//! The engine's messages to users, each with its cause and its cure. docs/troubleshooting.md is made from the same
//! rows.

use std::fmt::Display;

use crate::model::Advice;

/// Returns a whole message: the text with its gaps filled, and the cure.
pub(super) fn with_cure(advice: &Advice, values: &[&dyn Display]) -> String {
    format!("{}: {}", advice.fill(values), advice.cure)
}

macro_rules! messages {
    ($($name:ident: $code:literal, $text:literal, $cause:literal, $cure:literal;)*) => {
        $(pub(super) const $name: Advice = Advice { code: $code, text: $text, cause: $cause, cure: $cure };)*
        /// All messages of this file, in the order of the file.
        pub(super) const MESSAGES: &[Advice] = &[$($name),*];
    };
}

messages! {
    // The connection to an engine.
    UNREACHABLE: "engine", "cannot reach the Docker engine at … (…)",
        "No engine listens at the address.",
        "start it, or set DOCKER_HOST";
    FORBIDDEN: "engine", "the Docker engine at … refuses this user (…)",
        "The daemon's user may not open the engine's socket.",
        "add this user to the socket's group (usually docker)";
    NO_PLAIN_HTTP: "engine", "it does not speak plain HTTP (…)",
        "DOCKER_HOST leads to something that answers plain HTTP with other bytes, as TLS does.",
        "if it speaks TLS, set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH";
    ONLY_HTTPS: "engine", "the Docker engine does not speak plain HTTP",
        "The engine listens with TLS, and DOCKER_HOST is used without.",
        "if it speaks TLS, set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH";
    NO_TLS: "engine", "it does not speak TLS",
        "DOCKER_TLS_VERIFY=1 is set, and the engine listens without TLS.",
        "start it with --tlsverify, or, on this machine alone, unset DOCKER_TLS_VERIFY";
    UNKNOWN_AUTHORITY: "engine", "its certificate is not signed by …/ca.pem",
        "Another authority than that of DOCKER_CERT_PATH signed the engine's certificate.",
        "put the engine's own authority there";
    OTHER_NAME: "engine", "its certificate is not for …",
        "The name in DOCKER_HOST is missing in the engine's certificate.",
        "DOCKER_HOST must have a name or an address of the certificate's subjectAltName";
    EXPIRED: "engine", "its certificate has expired",
        "The engine's certificate is too old.",
        "renew it";
    NOT_YET_VALID: "engine", "its certificate is not valid yet",
        "A clock is wrong, or the engine's certificate was made for later.",
        "compare the clocks of both machines";
    BAD_CERTIFICATE: "engine", "its certificate cannot be used (…)",
        "The engine's certificate has another fault, which the message names.",
        "make another one";
    OUR_CERTIFICATE: "engine", "it refuses …/cert.pem (…)",
        "The engine does not accept the daemon's own certificate.",
        "the certificate must be for client authentication, not expired, and signed by the authority in the engine's \
         --tlscacert";
    SSH_UNREACHABLE: "engine", "cannot reach the Docker engine at … by ssh (…)",
        "The engine's machine, its sshd or the way there is down, or the address is wrong.",
        "check the address and that machine";
    SSH_NO_SOCKET: "engine", "ssh to the Docker engine at … is connected, and opens no way to … there (…)",
        "The socket does not exist there, its user may not open it, or sshd forbids forwarding.",
        "put the user into that machine's group docker, and leave AllowStreamLocalForwarding on";
    SSH_REFUSED_KEY: "config", "the machine of the Docker engine at … refuses the key …",
        "The public half of the key in image-factory/engine-key is not among the user's authorized keys there.",
        "add its public half to the user's authorized_keys there, or `image-factory secrets put engine-key FILE`";
    SSH_NO_KEY: "config", "the machine of the Docker engine at … asks for a key, and none is stored",
        "Nothing is stored as image-factory/engine-key.",
        "`image-factory secrets put engine-key FILE`";
    SSH_UNUSABLE_KEY: "config", "the key for the Docker engine at … cannot be used: …",
        "What is stored as image-factory/engine-key cannot be decrypted or read.",
        "`image-factory secrets put engine-key FILE`";
    SSH_UNKNOWN_HOST_KEY: "config", "the host key of the Docker engine at … is unknown; its machine is …",
        "The files of known hosts have no line for the engine's machine.",
        "`image-factory known-hosts add HOST` shows the key and adds it";
    SSH_OTHER_HOST_KEY: "config", "the host key of the Docker engine at … is not the known one; its machine is …",
        "The machine was set up anew, or another one answers in its place.",
        "if the change is known to be right, remove the old line, then `image-factory known-hosts add HOST`";
    BROKEN: "engine", "the connection to the Docker engine broke: …",
        "The engine stopped, or something between cut the connection.",
        "nothing if it is rare, because the job is tried again; otherwise read the engine's own log";
    NO_ENGINE_THERE: "engine", "no Docker engine answers at … (…)",
        "A web server or another program listens at the address.",
        "correct DOCKER_HOST";
    NO_ANSWER: "engine", "the Docker engine did not answer … in …",
        "The engine is overloaded or hangs.",
        "read the engine's own log, and restart it if it hangs";
    // The choice of an engine and of a builder.
    HANGS: "engine", "the Docker engine at … hangs: it does not answer",
        "The engine accepts connections and answers no request.",
        "restart the engine";
    GIVEN_UP: "engine", "the Docker engine at … hangs: it is given up",
        "The engine stopped answering while it worked for this job.",
        "restart the engine; the job is tried again";
    NO_ENGINE: "engine", "no engine can build now: …",
        "Every engine is away, hangs, or has too little room on its disk.",
        "follow what the message says about each engine; the job is tried again";
    CORDONED: "engine", "the Docker engine at … is cordoned since … and takes no jobs",
        "An operator has cordoned or drained the engine.",
        "`image-factory engines uncordon` ends that";
    FULL_DISK: "engine", "the disk of the Docker engine at … (…) has …, jobs wait below …; our images and the build cache \
        take … of it",
        "The engine's disk is full, and removing our own images and build cache would not be enough.",
        "make room there";
    NO_BUILDKIT: "engine", "the engine at … (…) has no BuildKit",
        "BUILDER=buildkit is set, and the engine is too old, or runs on Windows, or is Podman.",
        "use Docker 18.09 or newer on Linux, or set BUILDER=auto";
    TOO_NEW: "engine", "the Docker engine at … (…) asks for API version … or newer, and this program knows … at most",
        "The engine is newer than this program and has dropped the API versions that it knows.",
        "install a newer Image Factory, or lower DOCKER_MIN_API_VERSION of dockerd";
    NO_SESSION: "engine", "BuildKit cannot be given the tree (…)",
        "Something between the daemon and the engine does not pass on POST /session, which BuildKit needs.",
        "let POST /session through to the engine, or set BUILDER=auto";
    // Builds.
    STOPPED: "engine", "Podman was stopped, and killed the step \"…\"",
        "Somebody stopped or restarted Podman, which kills the steps that run in it.",
        "nothing, because the job is tried again";
    ENDLESS_OUTPUT: "engine", "the engine reports no more progress of a step that wrote more than 1 MiB at once",
        "Docker 20.10 never ends such a build (https://github.com/moby/buildkit/issues/1915).",
        "leave BUILDKIT_STEP_LOG_MAX_SPEED in dockerd's environment at its default, 204800, or take a newer Docker";
    NO_IMAGE: "engine", "the engine ended the build without an image",
        "The engine broke off the build and gave no reason.",
        "see its own log";
    UNREADABLE_TREE: "lost-worker", "the repository cannot be read for the build: …",
        "The daemon could not read the commit's files from its copy of the repository.",
        "read what follows in the message; the job is tried again";
    FAILED_STEP: "dockerfile", "step \"…\" failed with exit code …; its last line: …",
        "A command of the Dockerfile failed.",
        "read its output in the log";
    SILENT_STEP: "dockerfile", "step \"…\" failed with exit code … and wrote nothing",
        "A command of the Dockerfile failed and gave no reason.",
        "let the command say what it does, such as by `set -x`";
    NO_URL: "dockerfile", "ADD cannot get … (…): …",
        "The engine cannot get what ADD names by its address.",
        "check the address, and the network between the engine and its server";
    NO_NETWORK: "config", "the engine has no network …, which BUILD_NETWORK names",
        "BUILD_NETWORK names a network that this engine does not have.",
        "make it there by `docker network create`, or correct BUILD_NETWORK";
    HOSTS_NETWORK: "dockerfile", "RUN --network in line … may take the network of the engine's machine",
        "Podman lets a step leave the network that it is given.",
        "leave out --network, or write none or default";
    PRIVATE_ADDRESS: "dockerfile", "ADD in line … fetches from …, which is an address of a private network",
        "The engine would fetch from its own network, of which a Dockerfile must see nothing.",
        "put the file into the repository, or have the operator add the address to ADD_HOSTS_ALLOWED";
    PRIVATE_HOST: "dockerfile", "ADD in line … fetches from …, which is in a private network (…)",
        "The engine would fetch from its own network, of which a Dockerfile must see nothing.",
        "put the file into the repository, or have the operator add the host to ADD_HOSTS_ALLOWED";
    NO_ADDRESS: "dockerfile", "ADD in line … has an address that cannot be read",
        "The address has no host, or characters that no host has.",
        "correct the address";
    MANY_HOSTS: "dockerfile", "ADD names more than … hosts",
        "Each host behind ADD is looked up before the build.",
        "fetch from fewer hosts";
    GROWN: "dockerfile", "variables bring more than … bytes into line …",
        "A builder would replace them for hours, and its engine would go on with that after the build was ended.",
        "name each value fewer times";
    NO_STAGE: "dockerfile", "--from=… in line … names no stage above it (…), and no image: …",
        "COPY --from or RUN --mount names neither a stage nor an image that can be had.",
        "correct the name, or give it to a stage by FROM … AS";
    PERHAPS_NO_STAGE: "registry", "--from=… in line … names no stage above it (…), and Docker Hub cannot be asked for an image: …",
        "COPY --from or RUN --mount names no stage, and Docker Hub, which may have such an image, does not answer.",
        "correct the name if it is a stage's; otherwise nothing, because the job is tried again";
    BASE_IMAGE: "dockerfile", "the base image … (…) cannot be had from …: …",
        "The registry has no such image, or does not answer.",
        "correct the name after FROM, or push that image first";
    NO_FILE: "dockerfile", "the commit has no …",
        "COPY or ADD names a file that the commit lacks.",
        "commit the file, or correct its path, which begins at the context";
    NO_OTHER_FILE: "dockerfile", "the Dockerfile came with the request and without other files, so there is no …",
        "COPY or ADD names a file, and the request brought the Dockerfile alone.",
        "take the file from an address or an image, or build from a repository that has it";
    OTHER_CASE: "dockerfile", "the commit has no …, but …",
        "COPY or ADD writes a file's name in another case.",
        "write the name as the commit has it";
    IGNORED_FILE: "dockerfile", "the commit has …, but .dockerignore leaves it out by the pattern …",
        "COPY or ADD names a file that .dockerignore excludes.",
        "remove the pattern, or except the file by a line !PATH below it";
    FILE_OUTSIDE: "dockerfile", "the commit has …, but outside of the context",
        "The context is a folder of the repository, and COPY or ADD reads nothing beyond it.",
        "make the root the context, or move the file into it";
    NO_FILE_IN_STAGE: "dockerfile", "the stage or image … has no …",
        "COPY --from names a file that nothing made there.",
        "correct the path, or let that stage make the file";
    OLD_FRONTEND: "dockerfile", "this engine's BuildKit does not know …",
        "The engine is older than the instruction; here-documents and --link came with Docker 23.0.",
        "put `# syntax=docker/dockerfile:1` into the first line, or use a newer engine";
    OLD_SYNTAX: "dockerfile", "the frontend of the line `# syntax=` does not know …",
        "The frontend is older than the instruction.",
        "name a newer one: `# syntax=docker/dockerfile:1`";
    OUT_OF_MEMORY: "out-of-memory", "it was killed for its memory",
        "The kernel's OOM killer ended a process of the step.",
        "let the step use less memory, or give the engine's machine more";
    PERHAPS_OUT_OF_MEMORY: "out-of-memory", "it was killed, most likely because no memory was left for it",
        "SIGKILL ended the step. Nobody can say who sent it, because the engine runs on another kernel.",
        "let the step use less memory, or give the engine's machine more";
    KILLED_BY_OTHERS: "dockerfile", "something in it was killed, though not for its memory",
        "SIGKILL ended the step, and the kernel counted no OOM kill. `timeout -s KILL` in the step does the same.",
        "look for what ends the step's processes";
    NOT_ON_DOCKER_HUB: "dockerfile", "there is no such image on Docker Hub, or it is private and the dockercfg has no login \
        that may read it",
        "Docker Hub answers a wrong name and a private image alike.",
        "correct the name after FROM, or store a login for docker.io in the dockercfg";
    NOT_READABLE: "registry-auth", "there is no such image, or the dockercfg has no login that may read it",
        "The registry of a base image answers a wrong name and a private image alike.",
        "correct the name after FROM, or store a login for the registry in the dockercfg";
    OWN_COPY: "registry", "the registry shows no … (…), so the engine's own copy is used",
        "The engine has a base image that its registry no longer has, or that no login of the dockercfg may read.",
        "push the image again, or store a login that may read it";
    SEVERAL_LOGINS: "registry-auth", "The engine takes one login of …, and the base images have several in the dockercfg \
        (…): it gets the one for the whole registry, if there is one",
        "The dockercfg has logins for paths of the registry, and this engine takes one for each registry.",
        "use BuildKit and a registry with tokens, or give one login the right to read all of them";
    FOREIGN_PLATFORM: "dockerfile", "the engine's machine cannot run programs of …",
        "A step runs a program of another processor architecture.",
        "install qemu-user-static there (binfmt_misc), or let the Dockerfile build them on $BUILDPLATFORM";
    NO_UTF8_PATH: "dockerfile", "the path … is not UTF-8, which this engine's BuildKit does not take",
        "Newer engines take no names of files in other encodings.",
        "rename the file, or leave it out by .dockerignore";
    ONLY_BUILDKIT: "dockerfile", "the Dockerfile uses …, which only BuildKit knows",
        "The classic builder builds this image, because the engine has no BuildKit or BUILDER=classic is set.",
        "use an engine with BuildKit, and BUILDER=auto or buildkit";
    GIT_DIR_LEFT_OUT: "dockerfile", ".git is left out of the context",
        "A step or a COPY needs the repository itself, which no build gets unless it is asked for.",
        "to have it, give the build argument BUILDKIT_CONTEXT_KEEP_GIT_DIR=1, the job's option keepGitDir (--keep-git-dir), \
         or set KEEP_GIT_DIR=1";
    GIT_DIR_OUTSIDE: "dockerfile", ".git is left out of the context, because that is a folder of the repository",
        "A step or a COPY needs the repository itself, and the context is only a part of it.",
        "make the root the context, or give what the step needs as a build argument";
    GIT_DIR_IGNORED: "dockerfile", ".git is left out of the context by .dockerignore",
        "A step or a COPY needs the repository itself, and a pattern of .dockerignore excludes it.",
        "remove the pattern that matches it";
    // Containers of tests.
    FAILED_COMMAND: "test", "`…` exited with …: …",
        "The test command found something, and its last line is shown.",
        "read its output in the log, mend what it found, and push again";
    SILENT_COMMAND: "test", "`…` exited with … and without a word",
        "The test command failed and wrote nothing.",
        "mend what it found, or let it say what it finds, and push again";
    NO_PROGRAM: "test", "`…` cannot be started in the image … (…)",
        "The image has no program of the command's first word, or it cannot be run there.",
        "put the program into the image, or correct HOOK, or name another image by BUILD_IMAGE";
    TEST_LIMITS: "config", "the engine refuses the container of the test (…)",
        "A limit of tests is not one that this engine can set, such as more processors than its machine has.",
        "correct TEST_MEMORY, TEST_CPUS or TEST_PROCESSES";
    // Pushes.
    EXPOSED_LOGIN: "config", "its password was not sent, because the engine may speak to it without TLS \
        (insecure-registries), beyond this machine",
        "A password would cross the network in the clear.",
        "give the registry TLS, and take it out of insecure-registries";
    FOREIGN_LOGIN: "config", "its password was not sent, because the registry would have it sent to …, which is \
        another domain or has no TLS",
        "The registry names a token server that could be an attacker's.",
        "correct the registry's token realm, or allow a server that has TLS by TOKEN_SERVERS_ALLOWED";
    TOKEN_FOR_PODMAN: "config", "the token for … was not sent, because Podman takes user names and passwords alone",
        "The login of the dockercfg is an identitytoken or a registrytoken, which Podman's API drops without a word.",
        "store a user name and a password for that registry, or use Docker";
    NO_DIGEST: "engine", "the engine pushed … without a digest",
        "The engine ended the push and named no manifest.",
        "read the engine's own log; the job is tried again";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_in_order() {
        insta::assert_snapshot!(
            with_cure(&NO_BUILDKIT, &[&"unix:///a", &"18.06"]),
            @"the engine at unix:///a (18.06) has no BuildKit: use Docker 18.09 or newer on Linux, or set BUILDER=auto"
        );
        let advice = |text| Advice { text, ..NO_BUILDKIT };
        assert_eq!(advice("a … b … c").fill(&[&1, &"…"]), "a 1 b … c");
        assert_eq!(advice("none").fill(&[]), "none");
    }
}
