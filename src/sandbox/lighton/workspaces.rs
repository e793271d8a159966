//! `/workspaces`: the boundary of permissions. Names need not be unique here; the code that LightOn refuses a taken name with is not public.

use std::cmp::Ordering;

use axum::{
    extract::{Path, Request, State},
    http::StatusCode,
};
use serde_json::{Value, json};

use crate::sandbox::{json::Json, library::Workspace};

use super::{
    Service,
    body::{self, Bodies},
    error::Error,
    files::number,
    page::{Page, page},
    params::Params,
};

/// What every workspace here is: shared, filled by uploads, owned by whoever asks.
const TYPE: &str = "shared";
const UPLOAD_METHOD: &str = "manual";
const ROLE: &str = "owner";

/// Lists workspaces, by name unless told otherwise.
pub(super) async fn list(
    State(service): State<Service>,
    params: Params,
) -> Result<Json<Page>, Error> {
    let matches_word = |name: &str, own: &str| {
        let words = params.all(name);
        words.is_empty() || words.contains(&own)
    };
    let everything_matches = matches_word("workspace_type", TYPE)
        && matches_word("document_upload_method", UPLOAD_METHOD)
        && matches_word("user_role", ROLE)
        && params.all("datasource_type").is_empty();
    let name = params.one("name").unwrap_or_default().to_lowercase();
    let usage = service.library.usage();
    let files = |workspace: &Workspace| usage.get(&workspace.id).map_or(0, |(files, _)| *files);
    let mut workspaces = service.library.workspaces();
    workspaces
        .retain(|workspace| everything_matches && workspace.name.to_lowercase().contains(&name));
    let (field, descending) = match params.one("ordering") {
        None => ("name", false),
        Some(ordering) => match ordering.strip_prefix('-') {
            Some(field) => (field, true),
            None => (ordering, false),
        },
    };
    let order: fn(&Workspace, &Workspace) -> Ordering = match field {
        "created_at" => |a, b| a.created_at.cmp(&b.created_at),
        "updated_at" => |a, b| a.updated_at.cmp(&b.updated_at),
        _ => |a, b| a.name.to_lowercase().cmp(&b.name.to_lowercase()),
    };
    workspaces.sort_by(|a, b| order(a, b).then(a.id.cmp(&b.id)));
    if descending {
        workspaces.reverse();
    }
    page(&params, workspaces, |workspace| {
        let mut item = common(workspace, files(workspace));
        put(
            &mut item,
            "taxonomy",
            json!({"classified_files_rate": 0.0, "root_content_types": []}),
        );
        item
    })
}

/// Makes a workspace.
pub(super) async fn create(
    State(service): State<Service>,
    request: Request,
) -> Result<(StatusCode, Json<Value>), Error> {
    let mut fields = body::read(request, Bodies::Any).await?;
    fields.demand("name");
    let name = fields.text("name", 100);
    let description = fields
        .any_text("description", usize::MAX)
        .unwrap_or_default();
    fields.finish()?;
    let name = name.unwrap_or_default();
    let workspace = service
        .library
        .run(|library| library.create_workspace(name, description))
        .await?;
    Ok((StatusCode::CREATED, Json(details(&service, &workspace))))
}

/// Shows a workspace.
pub(super) async fn retrieve(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let workspace = service
        .library
        .workspace(number(&id, "Workspace")?)
        .ok_or(Error::NotFound("Workspace"))?;
    Ok(Json(details(&service, &workspace)))
}

/// Changes the name or the description of a workspace.
pub(super) async fn update(
    State(service): State<Service>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<Value>, Error> {
    let id = number(&id, "Workspace")?;
    let mut fields = body::read(request, Bodies::Any).await?;
    for unsupported in ["members", "datasource", "deleted_at"] {
        if fields.names().any(|name| name == unsupported) {
            return Err(Error::BadRequest(format!(
                "The sandbox does not support `{unsupported}`."
            )));
        }
    }
    let name = fields.text("name", 100);
    let description = match fields.has_null("description") {
        true => Some(String::new()),
        false => fields.any_text("description", usize::MAX),
    };
    fields.finish()?;
    let edited = service
        .library
        .run(move |library| library.edit_workspace(id, name, description))
        .await?;
    Ok(Json(details(
        &service,
        &edited.ok_or(Error::NotFound("Workspace"))?,
    )))
}

/// Deletes a workspace and its files.
pub(super) async fn delete(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<StatusCode, Error> {
    let id = number(&id, "Workspace")?;
    match service
        .library
        .run(move |library| library.delete_workspace(id))
        .await?
    {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Error::NotFound("Workspace")),
    }
}

fn details(service: &Service, workspace: &Workspace) -> Value {
    let (files, bytes) = service
        .library
        .usage()
        .get(&workspace.id)
        .copied()
        .unwrap_or_default();
    let mut details = common(workspace, files);
    put(&mut details, "used_storage", json!(bytes as f64));
    put(&mut details, "summaries", json!([]));
    details
}

fn common(workspace: &Workspace, files: u64) -> Value {
    json!({
        "id": workspace.id,
        "name": workspace.name,
        "workspace_type": TYPE,
        "document_upload_method": UPLOAD_METHOD,
        "description": workspace.description,
        "created_at": workspace.created_at.to_string(),
        "updated_at": workspace.updated_at.to_string(),
        "files_count": files,
        "user_role": ROLE,
        "sync": null,
        "scoped_api_keys": [],
    })
}

/// The workspace as files show it.
pub(super) fn in_files(workspace: &Workspace) -> Value {
    json!({"id": workspace.id, "name": workspace.name, "workspace_type": TYPE})
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}
