import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")


@pytest.fixture(scope="session")
def hosts(tmp_path_factory):
    from serving import small_hosts

    return small_hosts(tmp_path_factory.mktemp("hosts"))


@pytest.fixture(scope="session")
def server(hosts):
    from serving import running

    with running(hosts) as made:
        yield made
