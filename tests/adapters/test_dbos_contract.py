"""DbosEngine keeps the contract of run engines on SQLite."""

import pytest

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.testing.engine_cache_contract import CacheContract
from volant.testing.engine_contract import EngineContract
from volant.testing.engine_foreach_contract import ForeachContract
from volant.workflows.plan import plan_workflow


class TestDbosEngineOnSqlite(EngineContract, ForeachContract, CacheContract):
    @pytest.fixture
    def open_engine(self, tmp_path):
        engines = []

        def open_one(executor, load_run, **options):
            url = f"sqlite:///{tmp_path}/runs.db"
            engine = DbosEngine(url, executor, tmp_path, load_run, plan_workflow, **options)
            engine.launch()
            engines.append(engine)
            return engine

        yield open_one
        for engine in engines:
            engine.close()
