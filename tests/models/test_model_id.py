import pytest

from handler.errors import InvalidInput
from handler.models.model_id import ModelId
from handler.models.reference import parse_reference


@pytest.mark.parametrize(
    "text",
    [
        "huggingface/Ritual-Net/iris-classification:iris.torch",
        "local/me/linreg",
        "arweave/o/n/v1",
        "arweave/o/n/v1:a.torch,b/c.json",
    ],
)
def test_an_id_prints_as_it_was_spelled(text: str) -> None:
    assert str(ModelId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "x", "huggingface/only", "hf/o/n", "local/o/n/v/more", "local//n", "local/o/n/", ":f"],
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="storage/owner/name"):
        ModelId.parse(text)


HUB = "hf://Ritual-Net/iris/iris.torch"
PINNED = "hf://Ritual-Net/iris@v2/iris.torch"
FILE = "/opt/models/Ritual-Net/iris/iris.torch"
VERSIONED = "/opt/models/Ritual-Net/iris/v2/iris.torch"
# As infernet-ml keeps the files of a repository without a version.
CACHED = "/root/.cache/ritual/huggingface/Ritual-Net/iris/default/iris.torch"


@pytest.mark.parametrize("storage", ["huggingface", "local", "arweave"])
@pytest.mark.parametrize("files", ["", ":iris.torch", ":config.json,iris.torch"])
@pytest.mark.parametrize(
    ("repository", "references"),
    [
        ("Ritual-Net/iris", {HUB, PINNED, FILE, CACHED}),
        ("Ritual-Net/iris/main", {HUB}),
        ("Ritual-Net/iris/v2", {PINNED, VERSIONED}),
        ("Ritual-Net/iris/v3", set()),
        ("Ritual-Net/other", set()),
        ("ritual-net/iris", set()),
        ("models/Ritual-Net", set()),
        ("other-Ritual-Net/iris", set()),
    ],
)
def test_which_models_an_id_names(
    storage: str, files: str, repository: str, references: set[str]
) -> None:
    model_id = ModelId.parse(f"{storage}/{repository}{files}")
    for text in (HUB, PINNED, FILE, VERSIONED, CACHED):
        assert model_id.names(parse_reference(text)) == (text in references), text


@pytest.mark.parametrize("reference", [HUB, FILE])
@pytest.mark.parametrize("file", ["other.torch", "iris", "torch", "../iris/iris.torch"])
def test_another_file_is_another_model(reference: str, file: str) -> None:
    assert not ModelId.parse(f"local/Ritual-Net/iris:{file}").names(parse_reference(reference))


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        (HUB, "huggingface/Ritual-Net/iris:iris.torch"),
        (PINNED, "huggingface/Ritual-Net/iris/v2:iris.torch"),
        ("hf://o/n/folder/m.torch", "huggingface/o/n:folder/m.torch"),
        (FILE, "local/Ritual-Net/iris:iris.torch"),
    ],
)
def test_the_id_of_a_reference_names_it(reference: str, text: str) -> None:
    found = ModelId.of(parse_reference(reference))
    assert found is not None and str(found) == text
    assert found.names(parse_reference(reference))


@pytest.mark.parametrize("path", ["/model.torch", "/opt/model.torch"])
def test_a_file_without_folders_for_owner_and_name_has_no_id(path: str) -> None:
    assert ModelId.of(parse_reference(path)) is None
    assert not ModelId("local", "opt", "model.torch").names(parse_reference(path))
