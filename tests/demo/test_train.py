import json

import torch

from handler.demo import train
from handler.settings import get_settings
from handler.workflows.torch import DEMO_MODEL
from handler.workflows.torch_files import load_model
from tests.files import model_file


def test_the_bundled_model_is_what_the_script_makes() -> None:
    bundled = load_model(model_file(DEMO_MODEL), get_settings())
    made = train.train()
    for ours, theirs in zip(bundled.parameters(), made.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_the_bundled_model_knows_irises_it_has_not_seen() -> None:
    _, measurements, _, species = train.split()
    bundled = load_model(model_file(DEMO_MODEL), get_settings())
    assert len(species) == 50
    assert train.accuracy(bundled, measurements, species) >= 0.96
    assert DEMO_MODEL.stat().st_size < 8192


def test_the_sample_request_holds_one_iris_of_each_species() -> None:
    request = json.loads((DEMO_MODEL.parent / "request.json").read_text())
    values = torch.tensor(request["data"]["values"], dtype=torch.double)
    model = load_model(model_file(DEMO_MODEL), get_settings())
    assert model(values).argmax(1).tolist() == [0, 1, 2]
