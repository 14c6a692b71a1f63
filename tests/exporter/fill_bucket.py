"""The bucket of a release, filled from a local cache: fill_bucket.py CACHE ENDPOINT."""

import json
import sys
from pathlib import Path
from urllib.parse import urlparse

import boto3


def main(cache: Path, endpoint: str) -> None:
    """Put every file and a manifest with the bucket's own version ids."""
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    (manifest_path,) = cache.glob("*_manifest_v*.json")
    manifest = json.loads(manifest_path.read_text())
    project, version = manifest["project_name"], manifest["manifest_version"]
    bucket = f"{project}-data"
    client.create_bucket(Bucket=bucket, ACL="public-read")  # readers are not signed in
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for entry in [*manifest["metadata_files"].values(), *manifest["data_files"].values()]:
        key = urlparse(entry["url"]).path.lstrip("/")
        path = cache / f"{project}-{version}" / key.partition("/")[2]
        put = client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes(), ACL="public-read")
        entry["version_id"] = put["VersionId"]
    key = f"{project}/manifests/{manifest_path.name}"
    body = json.dumps(manifest).encode()
    client.put_object(Bucket=bucket, Key=key, Body=body, ACL="public-read")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
