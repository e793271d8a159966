//! Documents: files and workspaces, their bytes in both directions.
