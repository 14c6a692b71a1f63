import importlib.util
import json
import tomllib
from contextlib import suppress

import numpy as np
import pytest
import typer

from rheobase.cli import recordings, results, schemas, studies

KINDS = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


def problems(schema, value, root=None, where="$"):
    """Return what a schema refuses; an oracle of the few words that ours are made of."""
    if isinstance(schema, bool):
        return [] if schema else [f"{where}: unknown"]
    root = root or schema
    if "$ref" in schema:
        return problems(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root, where)
    for word in ("anyOf", "oneOf"):
        if word in schema:
            found = [problems(one, value, root, where) for one in schema[word]]
            accepting = sum(not one for one in found)
            if accepting == 0 or (word == "oneOf" and accepting > 1):
                return [f"{where}: {accepting} of {len(found)} accept it: {found}"]
            return []
    if "const" in schema or "enum" in schema:
        allowed = schema.get("enum", [schema.get("const")])
        return [] if value in allowed else [f"{where}: {value!r} is none of {allowed}"]
    if kind := schema.get("type"):
        is_number_as_bool = isinstance(value, bool) and kind in ("integer", "number")
        if not isinstance(value, KINDS[kind]) or is_number_as_bool:
            return [f"{where}: {value!r} is no {kind}"]
    if isinstance(value, list):
        first = schema.get("prefixItems", [])
        of_each = [*first, *[schema.get("items", {})] * (len(value) - len(first))]
        return [
            problem
            for index, (part, one) in enumerate(zip(of_each, value, strict=True))
            for problem in problems(part, one, root, f"{where}.{index}")
        ]
    if isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        told = [f"{where}: no {key}" for key in schema.get("required", []) if key not in value]
        for key, one in value.items():
            told += problems(known.get(key, others), one, root, f"{where}.{key}")
        return told
    return []


def test_the_published_schemas_have_not_drifted(root):
    path = root / "docs" / "make_schemas.py"
    found = importlib.util.spec_from_file_location("make_schemas", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    folder = root / "docs" / "schemas"
    published = {path.name: path.read_text() for path in folder.iterdir()}
    assert published == module.pages(), "run: python docs/make_schemas.py"


@pytest.mark.parametrize("name", schemas.NAMES)
def test_a_schema_says_what_it_is_of_and_refuses_unknown_keys(name, capsys):
    schemas.schema(name)
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"].startswith("https://json-schema.org/draft/")
    assert schema["title"]
    for table in [schema, *schema.get("$defs", {}).values()]:
        if "properties" in table:
            assert table["description"]
            assert table["title"] == "Finding" or table["additionalProperties"] is False


def printed(capsys, command, *arguments):
    capsys.readouterr()
    with suppress(typer.Exit):
        command(*arguments, as_json=True)
    return json.loads(capsys.readouterr().out)


def test_what_commands_print_is_as_published(root, small_run, tmp_path, capsys):
    planted = "synthetic:planted?seed=0&minutes=2&units=20"
    by_trial = tmp_path / "trials.npz"
    np.savez(
        by_trial,
        counts=np.arange(24, dtype=np.uint8).reshape(3, 2, 4),
        trial_start_s=np.arange(3.0),
        bin_s=0.01,
    )
    words = [root / "studies" / "least_network.toml", None, "local"]
    plan = printed(capsys, studies.plan, *words)
    prices = ["head=0.2", "cpu_worker=0.3", "gpu_worker=0.5"]
    on_cluster = printed(capsys, studies.plan, *words, root / "cluster.yaml", prices)
    assert on_cluster["cluster"]["money"] > 0
    one = printed(capsys, recordings.validate, [planted], None, None, None, None)
    both = printed(
        capsys, recordings.validate, [planted, str(by_trial)], None, None, tmp_path, None
    )
    assert {report["kind"] for report in both} == {"continuous", "trials"}
    for name, told in (
        ("ranking", printed(capsys, results.rank, small_run)),
        ("compare", printed(capsys, results.compare, small_run, "no-dale", "baseline")),
        ("plan", plan),
        ("plan", on_cluster),
        ("validate", one),
        ("validate", both[0]),
        ("validate", both[1]),
        ("validate", both),
    ):
        schema = schemas.schema_of(name)
        assert problems(schema, told) == []
        if isinstance(told, dict):
            for key in told.keys() - {"page", "simulated"}:
                assert problems(schema, {k: v for k, v in told.items() if k != key}), key
            assert problems(schema, {**told, "unheard": 1})


def test_every_study_of_the_repository_is_as_published(root):
    schema = schemas.schema_of("study")
    for path in (root / "studies").glob("*.toml"):
        table = tomllib.loads(path.read_text())
        assert problems(schema, table) == []
        assert problems(schema, {**table, "studnet": {}})
        assert problems(schema, {**table, "seeds": {"select": ["one"]}})
