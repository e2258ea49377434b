"""An emulator that speaks TLS, with a certificate of its own."""

import subprocess
import time
from pathlib import Path

import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator, EmulatorError
from tests.emulator.conftest import Api


def test_only_who_trusts_the_certificate_gets_in() -> None:
    with Emulator(tls=True) as emulator:
        api = Api(emulator)
        # Else a bundle that the environment names is looked at before the session's.
        api.session.trust_env = False
        assert emulator.url.startswith("https://127.0.0.1:")
        with pytest.raises(requests.exceptions.SSLError):
            api.send([api.event()])
        api.session.verify = emulator.certificate
        assert api.send([api.event()]).status_code == 200
        assert api.send([api.event()], path="/track?verbose=1").status_code == 200
        assert len(emulator.insert_ids()) == 2
        plain = emulator.url.replace("https", "http")
        with pytest.raises(requests.ConnectionError):
            requests.get(plain, timeout=5)
        text = Path(emulator.certificate).read_text()
        assert "PRIVATE" not in text


def test_faults_cut_tls_connections_too() -> None:
    kinds = [{"kind": "reset", "stored": True}, {"kind": "truncate"}]
    with Emulator(tls=True, faults=[*kinds, {"kind": "refuse", "seconds": 0.1}]) as emulator:
        api = Api(emulator)
        api.session.trust_env = False
        api.session.verify = emulator.certificate
        event = api.event()
        for _ in range(3):
            with pytest.raises(requests.RequestException):
                api.send([event])
        for _ in range(50):
            try:
                assert api.send([event]).status_code == 200
                break
            except requests.RequestException:
                time.sleep(0.05)
        assert emulator.stats()["events_distinct"] == 1


def test_each_start_makes_another_certificate() -> None:
    emulator = Emulator(tls=True)
    texts = set()
    for _ in range(2):
        with emulator:
            texts.add(Path(emulator.certificate).read_text())
    assert len(texts) == 2
    with pytest.raises(EmulatorError, match="tls"):
        _ = emulator.certificate


def test_curl_takes_it() -> None:
    with Emulator(tls=True) as emulator:
        url = emulator.url.replace("127.0.0.1", "localhost") + "/emulator/stats"
        command = ["curl", "--silent", "--noproxy", "*", "--cacert", emulator.certificate, url]
        done = subprocess.run(command, capture_output=True, timeout=20, check=False)
        assert done.returncode == 0
