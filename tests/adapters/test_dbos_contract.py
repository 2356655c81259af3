"""LateEngine, and the DbosEngine that it opens, keep the contract on SQLite."""

import pytest

from volant.adapters.dbos_engine.late import LateEngine
from volant.testing.engine_cache_contract import CacheContract
from volant.testing.engine_contract import EngineContract
from volant.testing.engine_foreach_contract import ForeachContract
from volant.workflows.plan import plan_workflow


class TestLateEngineOnSqlite(EngineContract, ForeachContract, CacheContract):
    @pytest.fixture
    def open_engine(self, tmp_path):
        engines = []

        def open_one(executor, load_run, **options):
            url = f"sqlite:///{tmp_path}/runs.db"
            engine = LateEngine(
                url, tmp_path, executor=executor, load_run=load_run, plan=plan_workflow, **options
            )
            engine.launch()
            engines.append(engine)
            return engine

        yield open_one
        for engine in engines:
            engine.close()
