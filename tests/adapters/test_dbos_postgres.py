"""DbosEngine keeps the contract of run engines on Postgres."""

import pytest

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.testing.engine_cache_contract import CacheContract
from volant.testing.engine_contract import EngineContract
from volant.testing.engine_foreach_contract import ForeachContract
from volant.testing.postgres import find_postgres, postgres_server
from volant.workflows.plan import plan_workflow

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def server():
    if find_postgres() is None:
        pytest.skip("no Postgres on this machine")
    with postgres_server() as running:
        yield running


class TestDbosEngineOnPostgres(EngineContract, ForeachContract, CacheContract):
    @pytest.fixture
    def open_engine(self, server, tmp_path):
        engines = []
        url = server.new_database()

        def open_one(executor, load_run, **options):
            engine = DbosEngine(url, executor, tmp_path, load_run, plan_workflow, **options)
            engine.launch()
            engines.append(engine)
            return engine

        yield open_one
        for engine in engines:
            engine.close()
