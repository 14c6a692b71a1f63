import importlib.util


def test_the_page_of_the_study_file_has_not_drifted(root):
    path = root / "docs" / "make_study_file.py"
    found = importlib.util.spec_from_file_location("make_study_file", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    assert (root / "docs" / "study-file.md").read_text() == module.page(), (
        "run: python docs/make_study_file.py"
    )


def test_every_link_between_pages_leads_somewhere(root):
    import re

    pages = [root / "README.md", *(root / "docs").rglob("*.md")]
    for page in pages:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


def test_every_key_of_a_ranking_is_described(root, small_run):
    from rheobase.cli.results import ranking_of

    text = (root / "docs" / "measures.md").read_text()
    known = {"trial_id", "number", "stage", "arm", "status", "params", "seeds", "notes", "wall_s"}
    for key in set(ranking_of(small_run).trials[0].model_dump()) - known - {"rank", "tier"}:
        assert key in text, key
