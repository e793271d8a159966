//! The workspaces that a caller may see.

use std::collections::BTreeSet;

use crate::config::{KeyScope, WorkspaceId};

/// Allowed workspaces. A scope can only be narrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every workspace that the search key reaches: the operator said so.
    Every,
    /// These, at least one.
    Only(BTreeSet<WorkspaceId>),
}

/// Workspaces that were asked for and are outside the scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("outside the scope: {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct Outside {
    /// Which.
    pub ids: BTreeSet<WorkspaceId>,
}

/// Two bounds that have no workspace in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bounds have no workspace in common")]
pub struct Empty;

impl Scope {
    /// Whether a passage of `workspace` may be seen; one whose workspace is not told only where everything may.
    pub fn holds(&self, workspace: Option<WorkspaceId>) -> bool {
        match self {
            Self::Every => true,
            Self::Only(ids) => workspace.is_some_and(|id| ids.contains(&id)),
        }
    }

    /// The workspaces that both this scope and `bound` hold; having none in common is an error, never "every".
    pub fn bounded(&self, bound: &BTreeSet<WorkspaceId>) -> Result<Self, Empty> {
        let common: BTreeSet<WorkspaceId> = bound
            .iter()
            .copied()
            .filter(|id| self.holds(Some(*id)))
            .collect();
        if common.is_empty() {
            Err(Empty)
        } else {
            Ok(Self::Only(common))
        }
    }

    /// Narrows the scope to `asked`. Asking wider is an error that names what is outside, not a silent cut.
    pub fn narrowed(&self, asked: &BTreeSet<WorkspaceId>) -> Result<Self, Outside> {
        let ids: BTreeSet<WorkspaceId> = asked
            .iter()
            .copied()
            .filter(|id| !self.holds(Some(*id)))
            .collect();
        if !ids.is_empty() || asked.is_empty() {
            return Err(Outside { ids });
        }
        Ok(Self::Only(asked.clone()))
    }
}

impl From<&KeyScope> for Scope {
    fn from(scope: &KeyScope) -> Self {
        match scope {
            KeyScope::Every => Self::Every,
            KeyScope::Only(ids) => Self::Only(ids.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ids(numbers: impl IntoIterator<Item = i64>) -> BTreeSet<WorkspaceId> {
        numbers.into_iter().map(WorkspaceId).collect()
    }

    fn scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            Just(Scope::Every),
            prop::collection::btree_set(0..8i64, 1..5)
                .prop_map(|numbers| Scope::Only(ids(numbers)))
        ]
    }

    #[test]
    fn asking_outside_the_scope_names_what_is_outside() {
        let scope = Scope::Only(ids([1, 2]));
        assert_eq!(scope.narrowed(&ids([2])), Ok(Scope::Only(ids([2]))));
        assert_eq!(
            scope.narrowed(&ids([2, 3, 4])),
            Err(Outside { ids: ids([3, 4]) })
        );
        assert_eq!(
            scope.narrowed(&ids([3])).unwrap_err().to_string(),
            "outside the scope: 3"
        );
    }

    #[test]
    fn bounds_without_a_common_workspace_are_an_error() {
        assert_eq!(Scope::Only(ids([1])).bounded(&ids([2])), Err(Empty));
        assert_eq!(Scope::Every.bounded(&ids([])), Err(Empty));
    }

    proptest! {
        #[test]
        fn narrowing_never_adds_a_workspace(scope in scope(), other in prop::collection::btree_set(0..8i64, 0..5), probe in 0..10i64) {
            let id = WorkspaceId(probe);
            let probe = Some(id);
            for narrowed in [scope.narrowed(&ids(other.clone())).ok(), scope.bounded(&ids(other.clone())).ok()].into_iter().flatten() {
                prop_assert!(!narrowed.holds(probe) || scope.holds(probe));
                prop_assert!(!narrowed.holds(probe) || ids(other.clone()).contains(&id));
                prop_assert!(!narrowed.holds(None));
            }
        }
    }
}
