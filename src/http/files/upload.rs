//! `POST /v1/files`: a file on its way through, never held whole.
//!
//! The fields of a form come in any order, and some clients send the file first. Where the workspace was not said before it, the first
//! [`READ_AHEAD`] bytes of the file are read to see whether it is said after it; a longer file goes where the defaults say, and a field
//! behind it that says otherwise ends the upload instead of changing nothing in silence.

use std::{
    collections::BTreeSet,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{SEARCHED, changed, failed, shown, stores_in_paradigm, writable};
use crate::{
    access::{Principal, Scope},
    app::App,
    config::WorkspaceId,
    http::{
        error::{self, ApiError, Told},
        form::{self, Part, Parts},
        json,
        middleware::visit::Visit,
    },
    openai::Json,
    rag::settings::RagOptions,
    retrieval::{
        self,
        documents::{FileStatus, Upload},
    },
};
use axum::{extract::Request, response::Response};
use bytes::Bytes;
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};

/// How much of a file is read to see what follows it, in bytes.
const READ_AHEAD: usize = 1 << 20;

/// The longest file name, in bytes: file systems end at 255.
const NAME_BYTES: usize = 1000;

/// OpenAI's purposes for files that nobody searches: they do not belong among a company's documents.
const ELSEWHERE: [&str; 3] = ["batch", "fine-tune", "evals"];

/// Stores a file.
pub(in crate::http) async fn create(
    Visit { app, principal, .. }: Visit,
    request: Request,
) -> Result<Response, ApiError> {
    writable(&app)?;
    let options = RagOptions::read(None, request.headers())?;
    let mut fields = Fields::default();
    if let Some(ids) = options.workspace_id {
        fields.said = Some(one(&ids)?);
    }
    let mut parts = form::open(request, &app.config).await?;
    let (filename, content_type) = loop {
        match parts.next().await.transpose()? {
            Some(Part::Field { name, value }) => fields.read(&name, &value)?,
            Some(Part::File {
                filename,
                content_type,
            }) => break (filename, content_type),
            Some(Part::Piece(_) | Part::FileEnd) => {}
            None => {
                return Err(missing(
                    "file",
                    "send the document as the form field `file`",
                ));
            }
        }
    };
    if filename.trim().is_empty() {
        return Err(missing("file", "give the form field `file` a file name"));
    }
    if filename.len() > NAME_BYTES {
        return Err(bad("file", "a file whose name is not as long"));
    }

    let mut ahead = Ahead::default();
    if fields.said.is_none() {
        ahead.read(&mut parts, &mut fields).await?;
    }
    let workspace = place(&app, &principal, fields.said)?;
    let fault = Fault::default();
    let length = Arc::new(AtomicU64::new(0));
    let upload = Upload {
        workspace,
        filename,
        title: fields.title.clone(),
        content_type,
        length: ahead.length(),
        bytes: bytes(ahead, parts, workspace, fields.clone(), &fault, &length),
    };
    let stored = app.search(&principal).files.upload(upload).await;
    // Whatever the answer was: it may be stored.
    changed(&app, workspace);
    if let Some(refused) = fault.take() {
        return Err(refused);
    }
    let file = stored.map_err(not_stored)?;
    if file.status == FileStatus::Pending
        && let Some(workspace) = workspace
    {
        app.documents_coming(workspace);
    }
    let mut object = shown(file);
    if object.bytes == 0 {
        object.bytes = length.load(Ordering::Relaxed);
    }
    // Paradigm's own word for it is none of OpenAI's.
    if let Some(purpose) = fields.purpose.filter(|purpose| purpose != "documents") {
        object.purpose = purpose;
    }
    Ok(json(&Json::of(&object)))
}

/// What a form says beside its file.
#[derive(Debug, Clone, Default)]
struct Fields {
    /// The workspace that was said, by field or header.
    said: Option<WorkspaceId>,
    purpose: Option<String>,
    title: Option<String>,
}

impl Fields {
    fn read(&mut self, name: &str, value: &str) -> Result<(), ApiError> {
        match name {
            // The SDKs write `extra_body={"rag": {"workspace_id": 42}}` into a form as `rag[workspace_id]`.
            "workspace_id" | "rag[workspace_id]" | "rag[workspace_id][]" => {
                let id = value.trim().parse().ok().map(WorkspaceId);
                self.say(id.ok_or_else(|| bad("workspace_id", "the number of a workspace"))?)
            }
            "rag" => {
                let json = Json::parse(Bytes::copy_from_slice(value.as_bytes()))
                    .map_err(|_| bad("rag", "a JSON object with `workspace_id`"))?;
                let options = RagOptions::read(Some(&json), &http::HeaderMap::new())?;
                match options.workspace_id {
                    Some(ids) => self.say(one(&ids)?),
                    None => Ok(()),
                }
            }
            "purpose" if ELSEWHERE.contains(&value) => Err(bad(
                "purpose",
                "`assistants` or `user_data`: uploads here become documents that are searched",
            )),
            "purpose" => {
                let known = SEARCHED.contains(&value) || value == "vision";
                self.purpose = known.then(|| value.to_owned());
                if known {
                    Ok(())
                } else {
                    Err(bad("purpose", "`assistants` or `user_data`"))
                }
            }
            "title" => {
                self.title = Some(value.to_owned()).filter(|title| !title.trim().is_empty());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn say(&mut self, id: WorkspaceId) -> Result<(), ApiError> {
        match self.said.replace(id) {
            Some(before) if before != id => Err(bad("workspace_id", "one workspace, not two")),
            Some(_) | None => Ok(()),
        }
    }
}

/// The beginning of a file, read before it is known where it goes.
#[derive(Debug, Default)]
struct Ahead {
    pieces: Vec<Bytes>,
    length: usize,
    /// Whether that was the file, and the form behind it was read as well.
    whole: bool,
}

impl Ahead {
    async fn read(&mut self, parts: &mut Parts, fields: &mut Fields) -> Result<(), ApiError> {
        while self.length <= READ_AHEAD {
            match parts.next().await.transpose()? {
                Some(Part::Piece(piece)) => {
                    self.length += piece.len();
                    self.pieces.push(piece);
                }
                Some(Part::Field { name, value }) => fields.read(&name, &value)?,
                Some(Part::File { .. } | Part::FileEnd) => {}
                None => {
                    self.whole = true;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        self.whole
            .then(|| u64::try_from(self.length).ok())
            .flatten()
    }
}

/// Where a file goes: what was said, else the only workspace of the defaults or of the scope, else the one for uploads. Paradigm takes files that name none.
fn place(
    app: &App,
    principal: &Principal,
    said: Option<WorkspaceId>,
) -> Result<Option<WorkspaceId>, ApiError> {
    if let Some(id) = said {
        if principal.scope.holds(Some(id)) {
            return Ok(Some(id));
        }
        let message = format!("your key does not reach workspace {id}; name another");
        return Err(ApiError::forbidden("workspace_not_allowed", message).param("workspace_id"));
    }
    let defaults = principal
        .rag
        .workspace_id
        .as_ref()
        .unwrap_or(&app.config.rag.workspace_id);
    let defaults: Vec<WorkspaceId> = defaults
        .iter()
        .copied()
        .filter(|id| principal.scope.holds(Some(*id)))
        .collect();
    if let [only] = defaults.as_slice() {
        return Ok(Some(*only));
    }
    let fallback = app.config.files.workspace_id;
    let fallback = fallback.filter(|id| principal.scope.holds(Some(*id)));
    match &principal.scope {
        Scope::Only(ids) if ids.len() == 1 => Ok(ids.first().copied()),
        _ if fallback.is_some() => Ok(fallback),
        Scope::Every if stores_in_paradigm(app) => Ok(None),
        Scope::Only(_) | Scope::Every => Err(missing(
            "workspace_id",
            "say where the file goes: the form field `workspace_id` before `file`, or the header `X-Rag-Workspace-Id`",
        )),
    }
}

/// Where a fault of the client's form waits until the store has noticed that its stream ended in one.
#[derive(Debug, Clone, Default)]
struct Fault(Arc<Mutex<Option<ApiError>>>);

impl Fault {
    fn put(&self, error: ApiError) -> io::Error {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        place.get_or_insert(error);
        io::Error::other("the client's form ended in a fault")
    }

    fn take(&self) -> Option<ApiError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The file's bytes: what was read ahead, then what comes. The form behind the file is read before the stream ends well.
fn bytes(
    ahead: Ahead,
    parts: Parts,
    workspace: Option<WorkspaceId>,
    fields: Fields,
    fault: &Fault,
    length: &Arc<AtomicU64>,
) -> BoxStream<'static, io::Result<Bytes>> {
    let rest = stream::try_unfold((parts, fields, fault.clone()), move |state| async move {
        let (mut parts, mut fields, fault) = state;
        loop {
            let checked = match parts.next().await {
                None => return Ok(None),
                Some(Ok(Part::Piece(piece))) => return Ok(Some((piece, (parts, fields, fault)))),
                Some(Ok(Part::File { .. } | Part::FileEnd)) => Ok(()),
                Some(Ok(Part::Field { name, value })) => fields.read(&name, &value),
                Some(Err(error)) => Err(error),
            };
            let late = fields.said.is_some() && fields.said != workspace;
            let checked = checked.and_then(|()| {
                if late {
                    Err(bad(
                        "workspace_id",
                        "the number of a workspace, before `file` where the file is long",
                    ))
                } else {
                    Ok(())
                }
            });
            checked.map_err(|error| fault.put(error))?;
        }
    });
    let counted = Arc::clone(length);
    stream::iter(ahead.pieces)
        .map(Ok)
        .chain(rest)
        .inspect(move |piece| {
            if let Ok(piece) = piece {
                let length = u64::try_from(piece.len()).unwrap_or(0);
                counted.fetch_add(length, Ordering::Relaxed);
            }
        })
        .boxed()
}

fn one(ids: &BTreeSet<WorkspaceId>) -> Result<WorkspaceId, ApiError> {
    let mut ids = ids.iter();
    match (ids.next(), ids.next()) {
        (Some(only), None) => Ok(*only),
        _ => Err(bad(
            "workspace_id",
            "one workspace: a file lives in exactly one",
        )),
    }
}

fn bad(param: &str, takes: &str) -> ApiError {
    ApiError::bad_request("invalid_value", format!("`{param}` takes {takes}")).param(param)
}

fn missing(param: &str, remedy: &str) -> ApiError {
    let message = format!("`{param}` is missing; {remedy}");
    ApiError::bad_request("missing_field", message).param(param)
}

fn not_stored(cause: retrieval::Error) -> ApiError {
    let told = Told::of(&cause);
    let answer = match &cause {
        retrieval::Error::Scope { .. } => ApiError::forbidden(
            "workspace_not_found",
            "the file service lets the gateway store nothing in this workspace; check its number",
        )
        .param("workspace_id"),
        retrieval::Error::Query { field, detail, .. } => {
            let message = format!("the file service refused the file: {detail}");
            let refused = ApiError::bad_request("invalid_value", message);
            match field {
                Some(field) => refused.param(field.clone()),
                None => refused,
            }
        }
        _ => return failed(cause),
    };
    error::log(&told, &answer);
    answer
}
