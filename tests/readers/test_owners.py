"""Owners are hidden, and stay the same person."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pandas as pd

from geoutils import tables
from geoutils.readers import owners


def test_hashed_owners_are_stable_secret_and_apart(tmp_path):
    names = pd.Series(["72399739@N00", " 72399739@N00 ", "someone", None, "  "])
    hashed = owners.hash_users(names, tmp_path / "key")
    assert hashed[0] == hashed[1] != hashed[2]
    assert hashed[3:].isna().all()
    pd.testing.assert_series_equal(hashed, owners.hash_users(names, tmp_path / "key"))
    assert owners.hash_users(names, tmp_path / "other_key")[0] != hashed[0]
    assert "72399739" not in json.dumps(hashed[:3].tolist())


def test_first_callers_at_once_share_one_key_that_only_they_may_read(tmp_path, monkeypatch):
    key, together = tmp_path / "data" / "user_key", Barrier(8)
    make = owners.secrets.token_bytes
    monkeypatch.setattr(owners.secrets, "token_bytes", lambda size: (together.wait(5), make(size))[1])
    with ThreadPoolExecutor(8) as pool:
        found = [hashed[0] for hashed in pool.map(lambda _: owners.hash_users(pd.Series(["Ann"]), key), range(8))]
    assert len(set(found)) == 1
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in key.parent.iterdir()] == ["user_key"]


def test_made_up_photographers_keep_their_names(tmp_path):
    """A split by user of the made-up world must be the same on every machine; real owners are hashed."""
    from geoutils.readers.checks import check_rows

    row = {"photo_id": "a", "latitude": 1, "longitude": 2, "user_id": "someone"}
    made_up = check_rows(pd.DataFrame([{**row, "source": tables.SYNTHETIC}]), hide_owners=False).photos["user_id"]
    real = check_rows(pd.DataFrame([{**row, "source": "own"}])).photos["user_id"]
    assert made_up[0] == "someone" != real[0]
