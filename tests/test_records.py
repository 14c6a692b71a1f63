import dataclasses
import importlib
import pkgutil

import rheobase

MOST_BY_PLACE = 5  # beyond, two arguments that change places are not seen
SUMMED = {"rheobase.measures.probes._Sums"}  # added and subtracted as a tuple


NOT_LOADED = ("__main__", "cuda_kernels", "lif_cuda")  # the last two need a GPU's packages


def classes():
    """Return every class that a module of the package defines, by its full name."""
    found = {}
    for module in pkgutil.walk_packages(rheobase.__path__, "rheobase."):
        if not module.name.endswith(NOT_LOADED):
            for name, one in vars(importlib.import_module(module.name)).items():
                if isinstance(one, type) and one.__module__ == module.name:
                    found[f"{module.name}.{name}"] = one
    return found


def by_place(one):
    """Return the fields that a record takes by their place."""
    if dataclasses.is_dataclass(one):
        return [field.name for field in dataclasses.fields(one) if field.init and not field.kw_only]
    return list(getattr(one, "_fields", ())) if issubclass(one, tuple) else []


def test_records_of_many_fields_are_made_by_keyword():
    records = {name: by_place(one) for name, one in classes().items() if name not in SUMMED}
    assert any(records.values())
    wrong = {name: fields for name, fields in records.items() if len(fields) > MOST_BY_PLACE}
    assert wrong == {}


def test_the_count_tells_places_from_keywords():
    fields = [(name, int) for name in "abcdef"]
    assert len(by_place(dataclasses.make_dataclass("Record", fields))) == 6
    assert by_place(dataclasses.make_dataclass("Record", fields, kw_only=True)) == []
