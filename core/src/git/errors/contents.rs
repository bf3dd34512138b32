//! The messages about submodules and LFS files, whose servers and files are the repository's own, about tarballs, and
//! about limits.

use super::Fault;
use super::message::ErrorMessage;

macro_rules! messages {
    ($($name:ident: $fault:ident, $what:literal, $cause:literal, $cure:literal;)*) => {
        $(pub(in crate::git) const $name: ErrorMessage =
            ErrorMessage { what: $what, cause: $cause, cure: $cure, fault: Fault::$fault };)*
        /// All messages of this file, in the order of the file.
        pub(super) const MESSAGES: &[ErrorMessage] = &[$($name),*];
    };
}

messages! {
    LARGE_GITMODULES: Request, ".gitmodules has … bytes, and it may have …",
        "The file is far larger than a list of submodules.",
        "make it smaller";
    DISK_RESERVE: Host, "the fetch of … was ended, because it left only … bytes of the disk free, and … are kept (half of DISK_FLOOR)",
        "The repository, or something else at that time, takes more disk than there is.",
        "make room in DATA_DIR, or make the repository smaller";
    MANY_REFS: Request, "… has more than … branches and tags (MAX_REFS)",
        "The repository has far more of them than people make by hand.",
        "delete some, or let the operator raise it";
    OUT_OF_MEMORY: Request, "Git needs more memory for the repository than it may have (GIT_MEMORY)",
        "A process of Git had as much memory as GIT_MEMORY allows, or the machine had none left.",
        "make the repository smaller, or let the operator raise it";
    KILLED: Host, "Git was killed (SIGKILL) while it worked on the repository",
        "The machine, or the group of Git's processes, had no memory left, or somebody killed it.",
        "try again; if it recurs, give the machine more memory, or make the repository smaller";
    OUT_OF_CPU_TIME: Request, "Git needs more time of the processor for the repository than it may have (GIT_CPU_TIME)",
        "A process of Git has computed for as long as GIT_CPU_TIME allows.",
        "make the repository smaller, or let the operator raise it";
    WRONG_GITMODULES: Request, ".gitmodules cannot be read: line … is wrong",
        "Git itself cannot parse the file.",
        "correct it";
    NO_SUBMODULE_URL: Request, "submodule … has no url in .gitmodules",
        "The section of the submodule lacks a line `url = …`.",
        "add it";
    NO_SUBMODULE_VALUE: Request, "submodule … has no value for … in .gitmodules",
        "A line of the submodule's section has a name without `=`.",
        "add it";
    NO_LFS_SERVER: Request, "… has LFS files, and a file URL has no LFS server",
        "GIT_URL names a folder, which gives out Git's objects only.",
        "serve it by ssh or https";
    LFS_LOGIN: Config, "… refuses the LFS files of … (…)",
        "The LFS server wants a login, or another one. On another host than the repository the class is source.",
        "is there a key or a token that may read it?";
    NO_LFS: Request, "… refuses the LFS files of … (…)",
        "The server has no LFS for this repository, or hides it from the login.",
        "does it have LFS, and may the key or the token read it?";
    LFS_TROUBLE: Server, "… refuses the LFS files of … (…)",
        "The LFS server has a fault of its own.",
        "try again, or look at the server's own log";
    MISSING_LFS_FILE: Request, "… does not have … of … (…)",
        "The commit was pushed, and the file that its LFS pointer names was not.",
        "push it with `git lfs push --all`";
    NO_TARBALL: Hidden, "GitHub shows no commit … of …",
        "The commit or the repository does not exist, or GITHUB_TOKEN may not read the repository's contents.",
        "correct the commit's id, or have GITHUB_TOKEN read the repository";
    TARBALL_REFUSED: Config, "GitHub refuses GITHUB_TOKEN (…) for the tarball of …",
        "The token is unknown, or may not read the repository's contents.",
        "set a valid one that may read it";
    TARBALL_TROUBLE: Server, "GitHub does not give the tarball now (…) of …",
        "GitHub has a fault of its own, or the token's limit of requests is used up.",
        "try again later";
    BROKEN_TARBALL: Server, "the tarball of commit … of … is damaged (…)",
        "What GitHub or a proxy sent is cut off, or is no tarball.",
        "try again";
    UNSAFE_TARBALL: Request, "the tarball of commit … of … has …",
        "No archive of a commit has that, or the tarball is larger than it may be.",
        "remove it from the commit, or set SOURCE=git";
}
