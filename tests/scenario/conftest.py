# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the scenarios: a world in each mode, ended and judged after each test."""
import pytest

from harness import BUILD, MOCK, POINTSMAN, World


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "tsan: worth running under ThreadSanitizer")


def pytest_sessionstart(session):
    for program in (MOCK, POINTSMAN):
        if not program.exists():
            pytest.exit(f"{program} is not there: build first, or set POINTSMAN_BUILD (now {BUILD})", returncode=3)


def _world(tmp_path, mode):
    world = World(tmp_path, mode)
    yield world
    world.close()


@pytest.fixture(params=["plain", "curl", "tls"])
def world(request, tmp_path):
    """Each scenario three times: experts by http, experts by https through libcurl, clients by https."""
    yield from _world(tmp_path, request.param)


@pytest.fixture(params=["plain", "curl"])
def upstream_world(request, tmp_path):
    """For what happens between the gateway and its experts."""
    yield from _world(tmp_path, request.param)


@pytest.fixture(params=["plain", "tls"])
def client_world(request, tmp_path):
    """For what happens between the gateway and its clients."""
    yield from _world(tmp_path, request.param)


@pytest.fixture
def plain_world(tmp_path):
    """For what does not depend on how bytes travel."""
    yield from _world(tmp_path, "plain")
