//! Collecting refusals, with the place of the text at fault.

use crate::plan::refusal::{ObjectName, Refusal};

/// Where a spec stands: in a Build, or embedded in a BuildRun.
#[derive(Debug, Clone)]
pub struct Site {
    /// The object whose status carries what is wrong here.
    pub owner: ObjectName,
    /// The object that holds the text.
    pub at: ObjectName,
    /// Field path of the spec in it, such as `spec.build.spec`.
    pub base: String,
}

impl Site {
    /// A place whose own object carries the reason.
    pub fn own(object: &ObjectName, base: &str) -> Self {
        Self { owner: object.clone(), at: object.clone(), base: base.to_owned() }
    }

    /// A place in `at` for which `owner` carries the reason.
    pub fn of(owner: &ObjectName, at: &ObjectName, base: &str) -> Self {
        Self { owner: owner.clone(), at: at.clone(), base: base.to_owned() }
    }

    /// A refusal about one field of this site; an empty field means the site itself.
    pub fn refuse(&self, field: &str, reason: &'static str, message: impl Into<String>) -> Refusal {
        let joins_itself = self.base.is_empty() || field.is_empty() || field.starts_with('[');
        let separator = if joins_itself { "" } else { "." };
        Refusal {
            object: self.owner.clone(),
            at: self.at.clone(),
            field: format!("{}{separator}{field}", self.base),
            reason,
            message: message.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_joined_as_people_write_them() {
        let build = ObjectName { kind: "Build".into(), namespace: None, name: "b".into() };
        for (base, field, joined) in [
            ("spec", "output.image", "spec.output.image"),
            ("spec", "", "spec"),
            ("spec.steps", "[0]", "spec.steps[0]"),
            ("", "metadata.name", "metadata.name"),
        ] {
            assert_eq!(Site::own(&build, base).refuse(field, "Reason", "text").field, joined);
        }
    }
}
