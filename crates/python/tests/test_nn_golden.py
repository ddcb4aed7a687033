"""Layers, activations and losses against stored results of MLX 0.32.4."""

import json
import pathlib

import golden_cases as cases
import lazulite.core as mx
import lazulite.nn as nn
import lazulite.utils as utils
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).parent / "golden"


def golden(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


def check(got, expected, path="", tolerance=2e-5):
    """Compare two JSON trees; numbers are float32 results stored with 7 digits.

    The tolerance allows for sums of some ten float32 products in another order.
    """
    if isinstance(expected, dict):
        assert isinstance(got, dict) and sorted(got) == sorted(expected), path
        for k in expected:
            check(got[k], expected[k], f"{path}.{k}", tolerance)
    elif isinstance(expected, list) and any(isinstance(e, (dict, str)) for e in expected):
        assert isinstance(got, list) and len(got) == len(expected), path
        for i, e in enumerate(expected):
            check(got[i], e, f"{path}.{i}", tolerance)
    elif isinstance(expected, (list, float)):
        try:
            a, b = np.array(got, dtype=np.float64), np.array(expected, dtype=np.float64)
        except ValueError:
            assert len(got) == len(expected), path
            for i, e in enumerate(expected):
                check(got[i], e, f"{path}.{i}", tolerance)
            return
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=path)
    else:
        assert got == expected, path


@pytest.mark.parametrize("text", cases.CALLS)
def test_activation(text):
    check(cases.run_call(text, mx, nn), golden("activations")[text])


@pytest.mark.parametrize("text, shapes", cases.LAYERS)
def test_layer(text, shapes):
    expected = golden("layers")[str((text, shapes))]
    check(cases.run_layer(text, shapes, mx, nn, utils), expected)


@pytest.mark.parametrize("text, shape", cases.QUANTIZED)
def test_quantized_layer(text, shape):
    check(cases.run_quantized(text, shape, mx, nn, utils), golden("quantized")[text])


@pytest.mark.parametrize("text, reduction", cases.LOSSES)
def test_loss(text, reduction):
    check(cases.run_loss(text, reduction, mx, nn), golden("losses")[f"{text} {reduction}"])
