//! The user as whom a container's command runs, who then owns the files that are uploaded.

use bytes::BytesMut;
use futures_util::TryStreamExt;

use super::kept::NoCopy;
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::engine::context::tar::Owner;

/// Largest `/etc/passwd` that is read, in bytes.
const LARGEST: u64 = 1 << 20;

impl Engine {
    /// Returns the numbers of the image's `USER`, which is `name|uid[:group|gid]` (Dockerfile reference). A name is looked
    /// up in the container's `/etc/passwd`, as the engine does. A group's name is not looked up: the user's own group
    /// stands for it.
    pub(super) async fn owner(&self, container: &str, user: &str) -> Result<Owner, EngineError> {
        let (name, group) = user.split_once(':').unwrap_or((user, ""));
        if name.is_empty() || user == "0" || name == "root" {
            return Ok(Owner::default());
        }
        if let (Ok(user), Ok(group)) = (name.parse(), group.parse()) {
            return Ok(Owner { user, group });
        }
        let own = find(&self.passwd(container).await?, name);
        let user = name.parse().ok().or(own.map(|own| own.user));
        let group = group.parse().ok().or(own.map(|own| own.group));
        // The engine refuses to start a container whose user it does not find, and says why.
        Ok(Owner { user: user.unwrap_or_default(), group: group.unwrap_or_default() })
    }

    /// Returns a container's `/etc/passwd`; empty if there is none.
    async fn passwd(&self, container: &str) -> Result<String, EngineError> {
        let mut file = match self.open(container, "/etc/passwd").await {
            Ok(file) if file.size.is_some_and(|size| size <= LARGEST) => file,
            Ok(_) | Err(NoCopy::Path | NoCopy::Special | NoCopy::Container) => return Ok(String::new()),
            Err(NoCopy::Engine(error)) => return Err(error),
        };
        let mut text = BytesMut::new();
        while let Some(bytes) = file.body.try_next().await? {
            text.extend_from_slice(&bytes);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// Finds a user by name or number among lines `name:password:uid:gid:…` (passwd(5)).
fn find(passwd: &str, user: &str) -> Option<Owner> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = lines.find(|fields| fields.first() == Some(&user) || fields.get(2) == Some(&user))?;
    Some(Owner { user: fields.get(2)?.parse().ok()?, group: fields.get(3)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\napp:x:1000:2000::/app:\nodd:x\n";
        assert_eq!(find(passwd, "app"), Some(Owner { user: 1000, group: 2000 }));
        assert_eq!(find(passwd, "1000"), Some(Owner { user: 1000, group: 2000 }));
        assert_eq!((find(passwd, "odd"), find(passwd, "none"), find("", "app")), (None, None, None));
    }
}
