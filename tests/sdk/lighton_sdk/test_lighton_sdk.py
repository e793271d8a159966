"""LightOn's own Python SDK (`lighton-sdk`) against the sandbox's search service.

Runs with or without pytest: `python test_lighton_sdk.py`. `SANDBOX_URL` is the address of the services, as the sandbox prints it
(`services on http://127.0.0.1:8081`).
"""

import base64
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path

from lighton import LightOn
from lighton.enums import ExecMode, FileStatus, RelevanceScoring, SearchMode
from lighton.exceptions import (
    AuthenticationError,
    LightOnAPIError,
    LightOnConnectionError,
    LightOnError,
    NotFoundError,
    PermissionDeniedError,
)
from lighton.file import File, wait_all
from lighton.tag import Tag
from lighton.types import ExternalMetadata, LightOnConfiguration, api
from lighton.workspace import Workspace

URL = os.environ.get("SANDBOX_URL", "http://127.0.0.1:8081")


def client(api_key="any-key", url=URL):
    # No pacing: there is no limit to stay under here.
    return LightOn(api_key, config=LightOnConfiguration(base_url=url, max_requests_per_minute=None, retries=0))


def document(folder, name, text):
    path = Path(folder) / name
    path.write_text(text, encoding="utf-8")
    return path


def raised(kind, call):
    """The exception of exactly this class that the call raises."""
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error).__name__} is not exactly {kind.__name__}"
        return error
    raise AssertionError(f"nothing was raised, {kind.__name__} was expected")


def test_a_workspace_is_created_found_changed_and_deleted():
    lighton = client()
    name = f"Legal {uuid.uuid4()}"
    workspace = Workspace(name=name, description="Contracts").create(lighton)
    assert workspace.id and workspace.files_count == 0 and workspace.user_role == "owner"

    listed = Workspace.list(lighton, name=name)
    assert [found.id for found in listed] == [workspace.id]
    assert listed[0].taxonomy.classified_files_rate == 0.0

    workspace.description = "Contracts and leases"
    workspace.save()
    assert Workspace.get(lighton, workspace.id).description == "Contracts and leases"

    number = workspace.id
    workspace.delete()
    raised(NotFoundError, lambda: Workspace.get(lighton, number))


def test_a_file_is_ingested_waited_for_and_found():
    lighton = client()
    workspace = Workspace(name="Birds").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        path = document(folder, "kingfisher.md", "# Kingfishers\n\nThe kingfisher dives for minnows at dawn.\n")
        file = workspace.ingest(File(path=path))
        assert file.status == FileStatus.pending and file.title == "kingfisher"
        file.wait(timeout=30, poll=0.05)
    assert file.status == FileStatus.embedded and file.size == path_size(file) and file.total_pages == 1

    results = lighton.search("What does the kingfisher dive for?", workspaces=[workspace]).results
    assert results[0].source.file_id == file.id and "minnows" in results[0].content
    assert results[0].workspace.id == workspace.id and results[0].source.filename == "kingfisher.md"

    assert [found.id for found in File.get_by_name(lighton, "kingfisher.md", workspace=workspace)] == [file.id]
    assert "minnows" in file.pages()[0].markdown
    assert file.download().decode().startswith("# Kingfishers")
    file.delete()
    assert lighton.search("kingfisher", workspaces=[workspace]).results == []
    workspace.delete()


def path_size(file):
    return len(file.download())


def test_waiting_with_the_defaults_of_the_sdk_takes_seconds():
    lighton = client()
    workspace = Workspace(name="Waiting").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        file = workspace.ingest(File(path=document(folder, "a.txt", "Text.")), wait=True)
    assert file.status == FileStatus.embedded
    assert time.monotonic() - started < 10
    workspace.delete()


def test_many_files_are_ingested_at_once_and_deleted_together():
    lighton = client()
    workspace = Workspace(name="Many").create(lighton)
    tag = Tag(name=f"batch {uuid.uuid4()}").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(12):
            document(folder, f"note-{number}.md", f"Note {number} is about topic{number}.")
        batch = workspace.ingest_many([f"{folder}/*.md"], tags=[tag.id])
    assert batch.ok and len(batch.succeeded) == 12
    wait_all(batch.succeeded, timeout=30)
    assert workspace.refresh().files_count == 12

    files = File.list(lighton, workspace_id=workspace.id, page_size=5)
    assert len(files) == 12, "the pages are followed"
    assert len(lighton.search("topic7", workspaces=[workspace]).results) == 1

    numbers = [file.id for file in files]
    raised(NotFoundError, lambda: File.delete_many(lighton, [*numbers, 999_999_999]))
    assert workspace.refresh().files_count == 12, "nothing was deleted"
    File.delete_many(lighton, files)
    assert workspace.refresh().files_count == 0
    tag.delete()
    workspace.delete()


def test_ingestion_in_the_background_reports_failures():
    lighton = client()
    workspace = Workspace(name="Background").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        good = document(folder, "good.md", "Good.")
        bad = document(folder, "bad.pdf", "no PDF at all")
        job = workspace.ingest_many([good, bad], mode=ExecMode.ASYNC, ignore_errors=True, wait=True, timeout=60)
        result = job.wait()
    assert [file.filename for file in result.succeeded] == ["good.md"]
    assert [failed.source.name for failed in result.failed] == ["bad.pdf"]
    assert "parsing_failed" in str(result.failed[0].error)
    workspace.delete()


def test_a_file_that_cannot_be_read_raises_while_waiting():
    lighton = client()
    workspace = Workspace(name="Broken").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        file = workspace.ingest(File(path=document(folder, "broken.pdf", "no PDF at all")))
        error = raised(LightOnError, lambda: file.wait(timeout=30, poll=0.05))
    assert "parsing_failed" in str(error) and file.status_detail
    workspace.delete()


def test_search_takes_every_option():
    lighton = client()
    workspace = Workspace(name="Options").create(lighton)
    tag = Tag(name=f"marine {uuid.uuid4()}", description="At sea").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        sea = workspace.ingest(File(path=document(folder, "sea.md", "# Sea\n\nThe lighthouse warns ships of the reef.")), tags=[tag.id])
        land = workspace.ingest(File(path=document(folder, "land.md", "# Land\n\nThe lighthouse keeper grows beans.")))
    question = "Whom does the lighthouse warn?"

    def found(**options):
        return {result.source.file_id for result in lighton.search(question, **options).results}

    assert found(workspaces=[workspace], relevance_scoring=RelevanceScoring.none) == {sea.id, land.id}
    assert found(files=[sea, land.id], relevance_scoring=RelevanceScoring.scoring_only) == {sea.id, land.id}
    assert found(tags=[tag]) == found(tags=[tag.name]) == found(tags=[tag.id], workspaces=[workspace.id]) == {sea.id}
    assert found(workspaces=[workspace], content_type=["legal:contract"]) == set()
    assert found(workspaces=[workspace], attribute=["year:2024|2025"]) == set()

    response = lighton.search(
        question,
        workspaces=[workspace],
        max_results=1,
        mode=SearchMode.text,
        relevance_scoring=RelevanceScoring.scoring_and_filtering,
        include_image=True,
        include_bboxes=True,
    )
    assert response.warnings is None and response.explain is None
    (result,) = response.results
    assert result.source.file_id == sea.id and result.score == result.scores.relevance
    assert result.source.tags[0].name == tag.name
    assert base64.b64decode(result.image.b64_content).startswith(b"\x89PNG")
    assert result.bboxes == []

    unscored = lighton.search(question, workspaces=[workspace], relevance_scoring=RelevanceScoring.none).results[0]
    assert unscored.scores.relevance is None and unscored.scores.keyword > 0
    vision = lighton.search(question, workspaces=[workspace], mode=SearchMode.vision).results[0]
    assert vision.content is None and vision.scores.text is None and vision.scores.vision is not None
    tag.delete()
    workspace.delete()


def test_tags_and_origins_are_kept_with_a_file():
    lighton = client()
    workspace = Workspace(name="Kept").create(lighton)
    tags = [Tag(name=f"{word} {uuid.uuid4()}").create(lighton) for word in ("one", "two")]
    origin = ExternalMetadata(external_id="INC-7", doc_type="incident", additional_metadata={"external_url": "https://desk.example/7"})
    with tempfile.TemporaryDirectory() as folder:
        file = File(path=document(folder, "origin.md", "The gasket leaks."), title="Leak", external_metadata=origin)
        workspace.ingest(file, tags=[tags[0].id])
    assert file.title == "Leak" and file.external_metadata == origin

    file.tag([tags[1]])
    assert {tag.id: tag.document_count for tag in Tag.list(lighton)}.get(tags[1].id) == 1
    file.untag([tags[0].name])
    assert lighton.search("gasket", tags=[tags[0]]).results == []
    result = lighton.search("gasket", tags=[tags[1]]).results[0]
    assert result.source.external_metadata.external_url == "https://desk.example/7"

    file.title = "Leaking gasket"
    file.save(tags=[], external_metadata=ExternalMetadata(additional_metadata={"version": 2}))
    again = File.get(lighton, file.id)
    assert again.title == "Leaking gasket"
    assert again.external_metadata.additional_metadata == {"external_url": "https://desk.example/7", "version": 2}
    raised(LightOnAPIError, lambda: file.save(external_metadata=ExternalMetadata(external_id="")))
    for tag in tags:
        tag.delete()
    workspace.delete()


def test_new_content_keeps_the_number_of_the_file():
    lighton = client()
    workspace = Workspace(name="Replaced").create(lighton)
    with tempfile.TemporaryDirectory() as folder:
        file = workspace.ingest(File(path=document(folder, "first.md", "The turbine hums.")))
        number = file.id
        file.replace(document(folder, "second.txt", "The windmill creaks."))
        assert file.pending_reprocess == "update"
        file.wait(timeout=30, poll=0.05)
    assert (file.id, file.filename, file.title) == (number, "second.txt", "first")
    assert lighton.search("turbine", workspaces=[workspace]).results == []
    assert lighton.search("windmill", workspaces=[workspace]).results[0].source.file_id == number
    workspace.delete()


def test_each_failure_raises_its_own_exception():
    lighton = client()
    error = raised(PermissionDeniedError, lambda: lighton.search("x", workspaces=[999_999_999]))
    assert error.status_code == 403 and error.body["error"] == "forbidden"
    raised(NotFoundError, lambda: File.get(lighton, 999_999_999))

    error = raised(LightOnAPIError, lambda: lighton.search("x" * 4001))
    assert error.status_code == 422 and error.fields["query"][0]["error"] == "max_length"
    error = raised(LightOnAPIError, lambda: lighton.search("", max_results=101))
    assert set(error.fields) == {"query", "max_results"}
    error = raised(LightOnAPIError, lambda: lighton.search("x", files=[1], workspaces=[1]))
    assert error.status_code == 422 and "file_id" in error.fields
    error = raised(LightOnAPIError, lambda: Workspace(name="x" * 101).create(lighton))
    assert error.fields["name"][0]["error"] == "max_length"
    error = raised(LightOnAPIError, lambda: lighton._request("POST", "/api/v3/search", content=b"{", headers={"content-type": "application/json"}))
    assert error.status_code == 400 and error.body["error"] == "bad_request"
    error = raised(LightOnAPIError, lambda: lighton._request("POST", "/api/v3/files", json={}))
    assert error.status_code == 415
    raised(NotFoundError, lambda: lighton._request("GET", "/api/v3/nothing"))

    with tempfile.TemporaryDirectory() as folder:
        file = File(path=document(folder, "a.md", "Text."), workspace_id=999_999_999)
        raised(PermissionDeniedError, lambda: file.create(lighton))

    keyless = client()
    del keyless._http.headers["authorization"]
    error = raised(AuthenticationError, lambda: keyless.search("x"))
    assert error.status_code == 401
    raised(LightOnConnectionError, lambda: client(url="http://127.0.0.1:1").search("x"))


def test_answers_have_the_types_that_lighton_generated_from_its_schema():
    lighton = client()
    workspace = Workspace(name="Typed").create(lighton)
    tag = Tag(name=f"typed {uuid.uuid4()}").create(lighton)
    made = lighton._request(
        "POST",
        "/api/v3/files",
        data={"workspace_id": workspace.id, "tags": [tag.id], "external_metadata": '{"external_id": "7", "additional_metadata": {}}'},
        files={"file": ("typed.md", b"Typed text.")},
    )
    api.FileCreateResponseSerializerV3.model_validate(made)
    shown = lighton._request("GET", f"/api/v3/files/{made['id']}", params={"include_content": True})
    assert api.FileRetrieveResponseSerializerV3.model_validate(shown).pages
    for path, kind in [
        ("/api/v3/files?page_size=1&include_details=true", api.PaginatedFileListResponseSerializerV3List),
        ("/api/v3/files?search=typed&search_details=true", api.PaginatedFileListResponseSerializerV3List),
        ("/api/v3/workspaces?page_size=1", api.PaginatedStandardWorkspaceV3ListResponseList),
        (f"/api/v3/workspaces/{workspace.id}", api.StandardWorkspaceV3DetailsResponse),
        ("/api/v3/tags", api.PaginatedTagListResponseSerializerV3List),
    ]:
        kind.model_validate(lighton._request("GET", path))
    error = raised(NotFoundError, lambda: lighton._request("GET", "/api/v3/files/999999999"))
    api.APIV3ErrorResponse.model_validate(error.body)
    error = raised(LightOnAPIError, lambda: lighton.search(""))
    api.APIV3ValidationErrorResponse.model_validate(error.body)
    tag.delete()
    workspace.delete()


def main():
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    for name, test in tests:
        started = time.monotonic()
        test()
        print(f"ok {name} ({time.monotonic() - started:.1f} s)", flush=True)
    print(f"{len(tests)} passed")


if __name__ == "__main__":
    sys.exit(main())
