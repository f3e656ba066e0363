"""Photographers' names to keyed hashes: who is the same person, and never who it is."""

import contextlib
import hmac
import os
import secrets
from pathlib import Path

import pandas as pd

from geoutils.artifacts import ROOT

USER_KEY = ROOT / "data" / "user_key"


def hash_users(owners: pd.Series, key_file: Path = USER_KEY) -> pd.Series:
    """Replace owners' names by a keyed hash that can't be reversed without the key file.

    Args:
        owners: names or ids, null where unknown.
        key_file: 32 random bytes that only their owner may read, made at the first call, never committed.

    Returns:
        16 hex digits a photo, null where the owner is null or blank.
    """
    if not key_file.exists():
        _make_key(key_file)
    key = key_file.read_bytes()
    names = owners.astype("str").str.strip().where(owners.notna())
    hashed = {name: hmac.digest(key, name.encode(), "sha256").hex()[:16] for name in names.dropna().unique() if name}
    return names.map(hashed).astype("str")


def _make_key(key_file: Path) -> None:
    """Write a key that is whole or absent; of several processes that do so at once, one wins."""
    key_file.parent.mkdir(parents=True, exist_ok=True)
    temporary = key_file.with_name(f".{key_file.name}.{secrets.token_hex(4)}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))
    with contextlib.suppress(FileExistsError):
        os.link(temporary, key_file)  # unlike a rename, never over a key that is there
    temporary.unlink()
