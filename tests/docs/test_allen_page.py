import re

from rheobase.sessions.readers.allen import FILTERS, SOURCES


def test_every_filter_value_and_variable_is_on_the_page(root):
    page = (root / "docs" / "sessions.md").read_text()
    section = page.split("## Allen Visual Behavior Neuropixels")[1]
    code = (root / "platform" / "rheobase" / "sessions" / "readers" / "allen.py").read_text()
    for name, values in FILTERS.items():
        assert f"`{name}=" in section
        assert all(value in section for value in values)
    assert all(f"`{source}`" in section for source in SOURCES)
    variables = set(re.findall(r"RHEOBASE_\w+", code)) - {"RHEOBASE_HOME"}
    assert len(variables) == 3
    assert all(f"`{name}`" in section for name in variables)
