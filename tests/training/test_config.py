"""Settings: one source of truth, and contradictions refused with a sentence."""

from __future__ import annotations

import dataclasses

import pytest

from facestylist.core.settings import fields_of, from_mapping, to_mapping
from facestylist.training.finetune.settings import FinetuneConfig
from facestylist.training.inversion.settings import InversionConfig, PivotalConfig

CONFIGS = (FinetuneConfig, InversionConfig, PivotalConfig)


@pytest.mark.parametrize("config", CONFIGS)
def test_every_field_explains_itself_and_its_default_is_accepted(config: type) -> None:
    specs = fields_of(config)
    assert [spec.name for spec in specs] == [field.name for field in dataclasses.fields(config)]
    for spec in specs:
        assert spec.tooltip.endswith("."), spec.name
        assert spec.type in (int, float, bool, str)
        if spec.type in (int, float):
            assert spec.min is not None and spec.max is not None and spec.step is not None, spec.name
            assert spec.min <= spec.default <= spec.max
        if spec.choices:
            assert spec.default in spec.choices
    config()


@pytest.mark.parametrize("config", CONFIGS)
def test_mapping_round_trip(config: type) -> None:
    assert from_mapping(config, to_mapping(config(steps=7))) == config(steps=7)


def test_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match="Unknown setting stepz; the settings are .*steps"):
        from_mapping(FinetuneConfig, {"stepz": 3})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"steps": 0}, "`steps` is 0 iterations?; it has to lie between 1 and"),
        ({"steps": 1.5}, "has to be of type int"),
        ({"steps": True}, "has to be of type int"),
        ({"flip_styles": 1}, "has to be of type bool"),
        ({"learning_rate": float("nan")}, "`learning_rate` is nan"),
        ({"augment": "lots"}, "choose one of ada, fixed, off"),
        ({"style_name": " "}, "give the style a name"),
        ({"r1_gamma": -0.5}, "use -1 for automatic"),
        ({"keep_shape": 0.0, "keep_structure": 0.0, "keep_relations": 0.0}, "there is nothing to keep"),
        ({"augment": "fixed", "augment_probability": 0.0}, "turn `augment` off"),
    ],
)
def test_finetune_refusals(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace(" iterations?", "( iterations)?")):
        from_mapping(FinetuneConfig, values)


def test_plain_finetuning_needs_no_keep_weights() -> None:
    FinetuneConfig(semantic_weight=0.0, keep_shape=0.0, keep_structure=0.0, keep_relations=0.0)


def test_inversion_refuses_to_compare_nothing() -> None:
    with pytest.raises(ValueError, match="nothing is compared"):
        InversionConfig(pixel_weight=0.0, feature_weight=0.0)
