//! Names of users and groups, from the node's own files.
//!
//! A static program has no name service; accounts that own Kubernetes' files are local ones on purpose.

use std::collections::BTreeMap;

use kubezt_model::Owner;

use super::{NodeError, NodeRoot};

/// File of users.
pub const PASSWD: &str = "/etc/passwd";
/// File of groups.
pub const GROUP: &str = "/etc/group";

/// Users and groups as they are now.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Accounts {
    /// Reads both files; one that is missing is empty.
    ///
    /// # Errors
    /// [`NodeError::File`].
    pub fn load(root: &NodeRoot) -> Result<Self, NodeError> {
        Ok(Self { users: ids(root, PASSWD)?, groups: ids(root, GROUP)? })
    }

    /// Id of a user.
    pub fn user(&self, name: &str) -> Option<u32> {
        self.users.get(name).copied()
    }

    /// Id of a group.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.get(name).copied()
    }

    /// Name of the user with this id.
    pub fn user_name(&self, uid: u32) -> Option<&str> {
        name_of(&self.users, uid)
    }

    /// Name of the group with this id.
    pub fn group_name(&self, gid: u32) -> Option<&str> {
        name_of(&self.groups, gid)
    }

    /// The owner with these ids; a bare number where no account has it.
    pub fn owner(&self, uid: u32, gid: u32) -> Owner {
        let name = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), ToOwned::to_owned);
        Owner { user: name(self.user_name(uid), uid), group: name(self.group_name(gid), gid) }
    }

    /// The ids of an owner; bare numbers stand for themselves.
    ///
    /// # Errors
    /// [`NodeError::NoAccount`].
    pub fn ids(&self, owner: &Owner) -> Result<(u32, u32), NodeError> {
        let id =
            |map: &BTreeMap<String, u32>, name: &str| map.get(name).copied().or_else(|| name.parse().ok());
        let missing = |what, name: &str, file| NodeError::NoAccount { what, name: name.to_owned(), file };
        let uid = id(&self.users, &owner.user).ok_or_else(|| missing("user", &owner.user, PASSWD))?;
        let gid = id(&self.groups, &owner.group).ok_or_else(|| missing("group", &owner.group, GROUP))?;
        Ok((uid, gid))
    }
}

fn ids(root: &NodeRoot, path: &'static str) -> Result<BTreeMap<String, u32>, NodeError> {
    let path = root.known(path);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(parse(&String::from_utf8_lossy(&bytes))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(NodeError::file("read", &path)(error)),
    }
}

/// `name:password:id:…`; the first entry of a name counts, as for the system's own look-up.
fn parse(text: &str) -> BTreeMap<String, u32> {
    let mut ids = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(Ok(id))) =
            (fields.next(), fields.next(), fields.next().map(str::parse))
        {
            ids.entry(name.to_owned()).or_insert(id);
        }
    }
    ids
}

fn name_of(ids: &BTreeMap<String, u32>, wanted: u32) -> Option<&str> {
    ids.iter().find(|(_, id)| **id == wanted).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_become_ids() {
        let users =
            parse("root:x:0:0:root:/root:/bin/bash\n# comment\nbroken\netcd:x:2379:2379::/nonexistent:/x\n");
        let accounts = Accounts { groups: users.clone(), users };
        assert_eq!(accounts.ids(&"etcd:root".parse().unwrap()).unwrap(), (2379, 0));
        assert_eq!(accounts.ids(&"12:0".parse().unwrap()).unwrap(), (12, 0));
        assert!(accounts.ids(&"nobody:root".parse().unwrap()).is_err());
        assert_eq!(accounts.owner(2379, 7).to_string(), "etcd:7");
    }
}
