//! The user and the groups of a process, by the image's own /etc/passwd and /etc/group.

use std::fs;
use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_gid, set_thread_groups, set_thread_uid};

use crate::Problem;
use crate::circus::Watcher;

/// The account that a process takes before it runs its program. Without a user and a group it stays what the launcher is.
#[derive(Debug, Clone, Default)]
pub struct Account {
    user: Option<Uid>,
    group: Option<Gid>,
    /// All groups that the user is a member of, as initgroups(3) sets them.
    groups: Vec<Gid>,
}

impl Account {
    /// Looks up the user and the group of a watcher. A user's own group counts if none is named.
    ///
    /// # Errors
    /// The image has no such user or group.
    pub fn of(watcher: &Watcher) -> Result<Self, Problem> {
        let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
        Self::find(watcher.command.user.as_deref(), watcher.command.group.as_deref(), &passwd, &group)
            .map_err(|text| watcher.place.problem(text))
    }

    fn find(user: Option<&str>, group: Option<&str>, passwd: &str, groups: &str) -> Result<Self, String> {
        let entry = |text: &str, name: &str| -> Option<Vec<String>> {
            text.lines()
                .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
                .find(|fields| fields.len() > 3 && (fields[0] == name || fields[2] == name))
        };
        let number = |text: &str| text.parse::<u32>().ok();
        let mut account = Self::default();
        let mut user_name = None;
        if let Some(user) = user {
            let found = entry(passwd, user);
            let id = found.as_ref().map_or(user, |fields| &fields[2]);
            account.user = Some(Uid::from_raw(number(id).ok_or_else(|| missing("user", user, "uid"))?));
            account.group = found.as_ref().and_then(|fields| number(&fields[3])).map(Gid::from_raw);
            user_name = found.map(|fields| fields[0].clone());
        }
        if let Some(group) = group {
            let found = entry(groups, group);
            let id = found.as_ref().map_or(group, |fields| &fields[2]);
            account.group = Some(Gid::from_raw(number(id).ok_or_else(|| missing("group", group, "gid"))?));
        }
        if account.user.is_some() && account.group.is_none() {
            let user = user.unwrap_or_default();
            return Err(format!("The user {user} is not in /etc/passwd, so its group is unknown. Name one by `gid`."));
        }
        account.groups.extend(account.group);
        for fields in groups.lines().map(|line| line.split(':').collect::<Vec<_>>()).filter(|fields| fields.len() > 3) {
            let is_member = user_name.as_deref().is_some_and(|name| fields[3].split(',').any(|member| member == name));
            let id = number(fields[2]).map(Gid::from_raw);
            account.groups.extend(id.filter(|id| is_member && !account.groups.contains(id)));
        }
        Ok(account)
    }

    /// Makes the calling process this account's. It allocates nothing, so that it can run between fork and exec.
    pub fn become_it(&self) -> io::Result<()> {
        if let Some(group) = self.group {
            set_thread_groups(&self.groups)?;
            set_thread_gid(group)?;
        }
        if let Some(user) = self.user {
            set_thread_uid(user)?;
        }
        Ok(())
    }
}

fn read(path: &str) -> String {
    // An image without the file has no names, and numbers suffice.
    fs::read_to_string(path).unwrap_or_default()
}

fn missing(what: &str, name: &str, key: &str) -> String {
    format!("The image has no {what} {name}. Create it in the Dockerfile, or correct `{key}`.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\ntls:x:50:web,other\nlog:x:51:other\n";

    fn found(user: Option<&str>, group: Option<&str>) -> Result<(Option<u32>, Vec<u32>), String> {
        let account = Account::find(user, group, PASSWD, GROUP)?;
        Ok((account.user.map(Uid::as_raw), account.groups.iter().map(|id| id.as_raw()).collect()))
    }

    #[test]
    fn a_user_has_its_groups() {
        assert_eq!(found(Some("web"), None), Ok((Some(33), vec![34, 50])));
        assert_eq!(found(Some("33"), Some("log")), Ok((Some(33), vec![51, 50])));
        assert_eq!(found(Some("1000"), Some("1000")), Ok((Some(1000), vec![1000])));
        assert_eq!(found(None, None), Ok((None, vec![])));
    }

    #[test]
    fn a_missing_user_is_named() {
        let missing = "The image has no user www. Create it in the Dockerfile, or correct `uid`.";
        assert_eq!(found(Some("www"), None), Err(missing.into()));
        let unknown = "The user 1000 is not in /etc/passwd, so its group is unknown. Name one by `gid`.";
        assert_eq!(found(Some("1000"), None), Err(unknown.into()));
    }
}
