//! The groups that an image gives to a user beside its own: containerd's rules.
//!
//! Engines look for them only where a user comes without a group; on a cluster they are there either way.

/// Gids of the groups in an image's `/etc/group` that list the user, who is a uid or a name of its `/etc/passwd`. A `gid` behind
/// a colon does not count.
pub fn image_groups(user: &str, passwd: &str, group: &str) -> Vec<u32> {
    let user = user.split(':').next().unwrap_or_default();
    let name = match user.parse::<u32>() {
        Err(_) => user,
        Ok(uid) => match fields(passwd).find(|fields| parse(fields.get(2)) == Some(uid)) {
            Some(fields) => fields[0],
            None => return Vec::new(),
        },
    };
    let lists = |fields: &Vec<&str>| {
        let mut members = fields.get(3).into_iter().flat_map(|members| members.split(','));
        // The group of the user's own name is no further one, whoever it lists.
        !name.is_empty() && fields[0] != name && members.any(|member| member == name)
    };
    fields(group).filter(lists).filter_map(|fields| parse(fields.get(2))).collect()
}

fn fields(file: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = file.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| line.split(':').collect())
}

fn parse(field: Option<&&str>) -> Option<u32> {
    field.and_then(|field| field.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_that_list_the_user_count_and_nothing_else() {
        const PASSWD: &str =
            "root:x:0:0:root:/root:/bin/sh\n\napp:x:1000:100::/:\nbroken\nsame:x:1000:5::/:\n";
        const GROUP: &str = "root:x:0:root,app\napp:x:1000:app\nwheel:x:10:root,app\nbin:x:1:root,bin\nsame:x:5:same\nnone:x:7:\nbad:x:y:app\nshort\n";
        for (user, expected) in [
            ("1000", &[0, 10][..]),
            ("1000:2000", &[0, 10]),
            ("app", &[0, 10]),
            ("0", &[10, 1]),
            ("root", &[10, 1]),
            ("2000", &[]),
            ("", &[]),
            ("nobody", &[]),
        ] {
            assert_eq!(image_groups(user, PASSWD, GROUP), expected, "{user}");
        }
        assert!(image_groups("1000", "", "").is_empty());
    }
}
