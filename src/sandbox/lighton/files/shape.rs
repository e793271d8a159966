//! The three shapes of a file: just uploaded, in a list, and alone.

use serde_json::{Map, Value, json};

use crate::{
    retrieval::local::Page,
    sandbox::{
        library::{File, Library, Origin},
        lighton::workspaces,
    },
};

/// The answer to an upload.
pub(super) fn created(library: &Library, file: &File, message: &str) -> Value {
    let mut shape = common(library, file);
    shape.insert("summaries".to_owned(), json!([]));
    shape.insert("message".to_owned(), json!(message));
    Value::Object(shape)
}

/// An item of a list.
pub(super) fn listed(library: &Library, file: &File) -> Value {
    Value::Object(processed(library, file))
}

/// An item of a list with the fields that `include_details=true` adds, and a file alone.
pub(super) fn details(library: &Library, file: &File) -> Value {
    let mut shape = processed(library, file);
    shape.insert("summaries".to_owned(), json!([]));
    // LightOn's hash for near duplicates (TLSH) is not worked out here, and no parser has a version.
    shape.insert("signature".to_owned(), Value::Null);
    shape.insert("parser".to_owned(), Value::Null);
    Value::Object(shape)
}

/// Adds the text of a file: by page, and in the deprecated single string.
pub(super) fn add_content(details: &mut Value, pages: &[Page]) {
    let Some(members) = details.as_object_mut() else {
        return;
    };
    let texts: Vec<&str> = pages.iter().map(|page| page.text.as_str()).collect();
    let pages: Vec<Value> = (1..)
        .zip(pages)
        .map(|(place, page)| json!({"index": page.number.unwrap_or(place), "markdown": page.text}))
        .collect();
    members.insert("content".to_owned(), json!(texts.join("\n\n")));
    members.insert("pages".to_owned(), json!(pages));
}

/// What a list and a file alone have in common: what has become of the file.
fn processed(library: &Library, file: &File) -> Map<String, Value> {
    let mut shape = common(library, file);
    shape.insert("size".to_owned(), json!(file.size_bytes));
    if let Some(detail) = file.life.status_detail() {
        shape.insert("status_detail".to_owned(), json!(detail));
    }
    shape.insert("content_types".to_owned(), json!([]));
    shape.insert("pending_reprocess".to_owned(), Value::Null);
    shape
}

fn common(library: &Library, file: &File) -> Map<String, Value> {
    let workspace = library.workspace(file.workspace_id);
    let tags = library.tags();
    let tags: Vec<Value> = file
        .tags
        .iter()
        .filter_map(|id| tags.iter().find(|tag| tag.id == *id))
        .map(|tag| json!({"id": tag.id, "name": tag.name, "auto_assigned": false}))
        .collect();
    let status = file.life.status();
    let shape = json!({
        "id": file.id,
        "filename": file.filename,
        "workspace": workspace.as_ref().map(workspaces::in_files),
        "title": file.title,
        "extension": file.extension(),
        "status": status,
        // Vision search works on what is embedded, and is no step of its own here.
        "status_vision": (status == "embedded").then_some("embedded"),
        "created_at": file.created_at.to_string(),
        "updated_at": file.updated_at.to_string(),
        "total_pages": if status == "pending" { 0 } else { file.total_pages },
        "tags": tags,
        "created_by": {"id": super::list::OWNER, "first_name": "Sandbox", "last_name": "User", "username": "sandbox"},
        "upload_session_uuid": file.upload_session,
        "external_metadata": file.origin.as_ref().map(Origin::in_files),
        "thumbnail": {"status": "MISSING", "url": null},
    });
    match shape {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
