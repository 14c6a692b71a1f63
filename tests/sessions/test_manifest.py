import hashlib
import json

import pytest

from rheobase.core.errors import SessionError
from rheobase.sessions.quality.file_hashes import check_file, read_hashes, require_allen_version


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "ecephys_session_1.nwb"
    path.write_bytes(b"spikes")
    return path


def hashed(content: bytes, size: int = 64) -> str:
    return hashlib.blake2b(content, digest_size=size).hexdigest()


def allen(found: str, version: str = "0.5.0") -> str:
    one = {"url": "https://x/a/ecephys_session_1.nwb", "version_id": "v", "file_hash": found}
    return json.dumps({"manifest_version": version, "data_files": {"1": one}, "metadata_files": {}})


FORMS = {
    "b2sum": lambda found: f"{found}  data/ecephys_session_1.nwb\n",
    "b2sum-binary": lambda found: f"{found} *ecephys_session_1.nwb\n",
    "json": lambda found: json.dumps({"data/ecephys_session_1.nwb": found}),
    "allen": allen,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [16, 64])
def test_a_file_is_held_against_every_form_of_manifest(recording, tmp_path, form, size):
    manifest = tmp_path / "manifest"
    manifest.write_text(FORMS[form](hashed(b"spikes", size)))
    assert check_file(recording, read_hashes(manifest)) == []
    manifest.write_text(FORMS[form](hashed(b"spikez", size)))
    (found,) = check_file(recording, read_hashes(manifest))
    assert (found.check, found.severity) == ("file-hash-differs", "fatal")


def test_a_file_that_is_not_listed_is_a_warning(recording, tmp_path):
    other = tmp_path / "other.nwb"
    other.write_bytes(b"")
    manifest = tmp_path / "manifest"
    manifest.write_text(allen(hashed(b"spikes")))
    (found,) = check_file(other, read_hashes(manifest))
    assert (found.check, found.severity) == ("file-not-in-manifest", "warning")


@pytest.mark.parametrize("version", ["0.4.9", "0.4", "0.1.0", "", "latest"])
def test_releases_below_0_5_0_are_refused(tmp_path, version):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(allen(hashed(b""), version))
    with pytest.raises(SessionError, match=r"version 0\.5\.0 or later") as told:
        read_hashes(manifest)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("version", ["0.5.0", "0.5.1", "0.10.0", "1.0"])
def test_later_releases_are_taken(version):
    require_allen_version(version, "manifest.json")


@pytest.mark.parametrize(
    "text",
    ["{", "[1]", "no digest here\n", "abc  a.nwb\n", json.dumps({"a.nwb": 3}), "ff" * 65 + "  a\n"],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path, text):
    manifest = tmp_path / "manifest"
    manifest.write_text(text)
    with pytest.raises(SessionError, match="a manifest must be JSON") as told:
        read_hashes(manifest)
    assert "\n" not in str(told.value)


def test_one_name_with_two_digests_is_refused(tmp_path):
    manifest = tmp_path / "manifest"
    manifest.write_text(f"{hashed(b'a')}  x/a.nwb\n{hashed(b'b')}  y/a.nwb\n")
    with pytest.raises(SessionError, match=r"'a\.nwb' has two"):
        read_hashes(manifest)
