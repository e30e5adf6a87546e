"""Settings from anywhere: whatever a field is given, it is taken as it is or refused in one sentence that names it."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facestylist.cli.files import read_settings
from facestylist.cli.options import add_settings, read_config
from facestylist.core.settings import FieldSpec, fields_of, from_mapping, to_mapping
from facestylist.latents.settings import ApplyConfig, VariationConfig
from facestylist.nodes.declare import from_spec
from facestylist.tools.detector.settings import DetectorTrainingConfig
from facestylist.training.encoder.settings import EncoderTrainingConfig
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.inversion.settings import InversionConfig, PivotalConfig, ReferenceConfig
from facestylist.training.pairs.settings import PairsConfig
from facestylist.training.pairs.supervision_settings import PairSupervisionConfig
from facestylist.training.stylizer.settings import StylizerConfig

CONFIGS = (
    FinetuneConfig,
    InversionConfig,
    PivotalConfig,
    DetectorTrainingConfig,
    EncoderTrainingConfig,
    ApplyConfig,
    ReferenceConfig,
    VariationConfig,
    PairsConfig,
    PairSupervisionConfig,
    StylizerConfig,
)
often = settings(max_examples=150, deadline=None, derandomize=True, database=None)
ROWS = [(config, spec) for config in CONFIGS for spec in fields_of(config)]

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=4),
    st.lists(st.integers(), max_size=2),
    st.complex_numbers(),
    st.just({"a": 1}),
    st.sampled_from([10**5000, -(10**5000), math.nan, math.inf, -math.inf]),
    st.sampled_from(["", "\n", "\ud800", "a" * 100_000, "\x1b[31m"]),
)


def fitting(spec: FieldSpec) -> st.SearchStrategy[Any]:
    """Values that a field takes."""
    if spec.choices:
        return st.sampled_from(spec.choices)
    if spec.type is bool:
        return st.booleans()
    if spec.type is str:
        return st.sampled_from(["ink", "Tusche, fein", '"quoted" \\ style', "墨", "a = 1 # b"])
    assert spec.min is not None and spec.max is not None
    if spec.type is int:
        return st.integers(int(spec.min), int(spec.max))
    return st.floats(spec.min, spec.max)


@often
@given(st.sampled_from(ROWS), values)
def test_a_field_takes_a_value_or_names_itself(row: tuple[type, FieldSpec], value: object) -> None:
    config, spec = row
    try:
        made = from_mapping(config, {spec.name: value})
    except ValueError as error:
        said = str(error)
        assert type(error) is ValueError and f"`{spec.name}`" in said
        assert said.endswith(".") and said.isprintable() and len(said) < 500
        return
    assert getattr(made, spec.name) == value and isinstance(value, spec.type | int if spec.type is float else spec.type)
    assert isinstance(value, bool) == (spec.type is bool)


@pytest.mark.parametrize(("config", "spec"), ROWS, ids=[f"{config.__name__}.{spec.name}" for config, spec in ROWS])
def test_the_edges_of_a_range(config: type, spec: FieldSpec) -> None:
    """Just outside is refused by name; the wrong type too, true for a number among them."""
    wrong: list[object] = [None, [], {}, b"x"]
    if spec.type in (int, float):
        assert spec.min is not None and spec.max is not None
        wrong += [True, "1", math.nan, math.inf, -math.inf, 10**400, -(10**400), 2 * spec.max + 1, spec.min - 1]
    if spec.type is int:
        wrong.append(float(spec.default) + 0.5)
    if spec.type is bool:
        wrong += [0, 1, "true"]
    if spec.choices:
        wrong += ["", spec.choices[0].upper(), 0]
    for value in wrong:
        with pytest.raises(ValueError, match=f"`{spec.name}`"):
            from_mapping(config, {spec.name: value})


@often
@given(st.data())
def test_what_is_taken_survives_toml_flags_and_widgets(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    config, spec = data.draw(st.sampled_from(ROWS))
    value = data.draw(fitting(spec))
    try:
        made: Any = from_mapping(config, {spec.name: value})
    except ValueError as error:
        # Two settings that contradict each other.
        assert f"`{spec.name}`" in str(error)
        return
    assert from_mapping(config, to_mapping(made)) == made
    assert from_mapping(config, json.loads(json.dumps(to_mapping(made)))) == made

    folder = tmp_path_factory.getbasetemp()
    lines = [f"{name} = {_toml(value)}" for name, value in to_mapping(made).items()]
    file = folder / "settings.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    assert from_mapping(config, read_settings(file)) == made

    parser = argparse.ArgumentParser()
    add_settings(parser, config)
    flag = "--" + spec.name.replace("_", "-")
    switch = flag if value else flag.replace("--", "--no-", 1)
    words = [switch if spec.type is bool else f"{flag}={value}"]
    assert read_config(parser.parse_args(words, argparse.Namespace(config=None)), config) == made

    kind, options = from_spec(spec)
    if isinstance(kind, list):
        assert value in kind
    elif kind in ("INT", "FLOAT") and spec.name != "seed":
        assert options["min"] <= value <= options["max"] and options["min"] <= options["default"] <= options["max"]


def _toml(value: object) -> str:
    return json.dumps(value) if isinstance(value, (str, bool)) else repr(value)


@pytest.mark.parametrize("content", [b"\xff\xfes\x00t\x00", b"steps = ", b"[[[", b"a = {" * 5000, b"a = 1\na = 2"])
def test_what_is_no_toml(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"s\.toml is not TOML: .*\.$") as raised:
        read_settings(tmp_path / "s.toml")
    assert type(raised.value) is ValueError
    (tmp_path / "s.toml").write_bytes(b"\xef\xbb\xbfsteps = 3\n")
    assert read_settings(tmp_path / "s.toml") == {"steps": 3}


def test_names_that_are_no_settings() -> None:
    for name in ("", "stepz", "\x1b[31m", 7, None):
        with pytest.raises(ValueError, match="Unknown setting") as raised:
            from_mapping(FinetuneConfig, {name: 1})  # type: ignore[dict-item]
        assert str(raised.value).isprintable()
