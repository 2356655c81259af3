"""Predict a whole file or dataset, chunk by chunk, in a step process.

Each chunk's predictions lie in a file of their own in the step's folder before the
state says so; a process that dies goes on behind the last chunk that the state names.
When all are there they become the output, which appears whole. Rows that can't be used
go to `<output>.rejected` with the reason.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from volant.domain.run import StepContext
from volant.errors import Conflict, InvalidInput, ResourceExhausted, Unavailable, VolantError
from volant.faults import crash_point
from volant.ports.tables import Tables
from volant.serving.batch_columns import ColumnRows
from volant.serving.batch_read import Source, chunks, format_of, open_source, unreadable
from volant.serving.batch_remote import RemoteModel
from volant.serving.batch_rows import ChunkPredictor, OutputTable, Reader, Tools
from volant.serving.batch_tensors import TensorRows
from volant.serving.batch_write import join, write_chunk, write_lines, write_state
from volant.serving.description import Description, read_description
from volant.serving.inference import DESCRIPTION_FILE, Model, load
from volant.serving.model_files import ModelFiles
from volant.serving.refusal import nearest

DATASET = "dataset:"
REJECTED = ".rejected"
_TELL_S = 1.0
_MOST_NAMES = 10  # in one sentence


@dataclass
class _State:
    """How far it is. `rows` were read in `chunks` chunks. `names` are the input's columns
    that the output has, `own` what they are called there, `left_out` those that it lacks."""

    source: list[Any]
    chunks: int = 0
    rows: int = 0
    rejected: int = 0
    names: list[str] = field(default_factory=list[str])
    own: list[str] = field(default_factory=list[str])
    left_out: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    done: bool = False


def batch(
    inputs: Mapping[str, Any], context: StepContext, tables: Tables, tools: Tools
) -> dict[str, Any]:
    """Inputs: model_dir, files, model, version, input, output, chunk_rows, format, only,
    strict, overwrite, table_version (of an input dataset), python (the interpreter of the
    model's own environment; absent or None: this one's). Outputs: model, version, rows,
    predicted, rejected, output, rejected_path, warnings (sentences), file (what is to be
    pushed, if the output is a dataset).

    Raises `InvalidInput` for an input that can't be used and, with `strict`, for the first
    row that can't; `Conflict` when the output is there already. The errors' details tell in
    `predicted` how many rows are kept for the next attempt.
    """
    return _Batch(inputs, context, tables, tools).run()


class _Batch:
    def __init__(
        self, inputs: Mapping[str, Any], context: StepContext, tables: Tables, tools: Tools
    ) -> None:
        self._inputs = inputs
        self._tables = tables
        self._tools = tools
        self._folder = Path(str(inputs["model_dir"]))
        self._only = bool(inputs.get("only"))
        self._input, output = str(inputs["input"]), str(inputs["output"])
        self._draft = context.workdir / "batch"
        self._dataset = output.removeprefix(DATASET) if output.startswith(DATASET) else None
        self._target = (
            Path(output)
            if self._dataset is None
            else context.workdir / f"{self._dataset.replace('/', '-')}.parquet"
        )
        self._kind = format_of(self._target, None)
        self._rejected = self._target.with_name(self._target.name + REJECTED)
        self._state_path = self._draft / "state.json"

    def run(self) -> dict[str, Any]:
        state = self._begin()
        if not state.done:
            try:
                self._predict(state)
                crash_point("batch.predicted")
                self._finish(state)
            except VolantError as error:
                error.details["predicted"] = state.rows
                raise
        return {
            "model": self._inputs["model"],
            "version": self._inputs["version"],
            "rows": state.rows,
            "predicted": state.rows - state.rejected,
            "rejected": state.rejected,
            "output": str(self._inputs["output"]),
            "rejected_path": str(self._rejected) if state.rejected else None,
            "warnings": state.warnings,
            "dataset": self._dataset,
            "file": str(self._target) if self._dataset is not None else None,
            "reason": f"{state.rows:,} rows, {state.rejected:,} of them rejected",
        }

    def _begin(self) -> _State:
        source = self._mark()
        try:
            found = _State(**orjson.loads(self._state_path.read_bytes()))
        except FileNotFoundError:
            self._check_target()
            self._draft.mkdir(parents=True, exist_ok=True)
            return _State(source)
        if not found.done and found.source != source:
            raise Conflict(
                f"{self._input} was changed since this batch began with it.",
                "Start the batch again: it is another one now.",
                code="batch_input_changed",
            )
        return found

    def _mark(self) -> list[Any]:
        """What tells that the input is still the same."""
        if self._input.startswith(DATASET):
            return [self._inputs.get("table_version")]
        try:
            facts = Path(self._input).stat()
        except OSError as error:
            raise InvalidInput(
                f"{self._input} can't be read: {error.strerror}.",
                "Give a path that the server's machine has.",
                code="batch_input",
            ) from error
        return [facts.st_size, facts.st_mtime_ns]

    def _check_target(self) -> None:
        if self._dataset is not None:
            return
        if not self._target.parent.is_dir():
            raise InvalidInput(
                f"There is no folder {self._target.parent}.", "Make it, or give another output."
            )
        if self._inputs.get("overwrite"):
            return
        for path in (self._target, self._rejected):
            if path.exists():
                raise Conflict(
                    f"{path} is there already.",
                    "Give another output, or --overwrite.",
                    code="batch_output_exists",
                )

    # predicting

    def _predict(self, state: _State) -> None:
        about = self._about()
        reader = self._reader(about)
        model = self._loaded(about)
        predictor = ChunkPredictor(model.predict, about, reader, only=self._only)
        output = OutputTable(about, only=self._only)
        try:
            self._chunks(state, predictor, output)
        finally:
            if isinstance(model, RemoteModel):
                model.close()
        state.warnings = self._warnings(about, state)

    def _chunks(self, state: _State, predictor: ChunkPredictor, output: OutputTable) -> None:
        rows = int(self._inputs["chunk_rows"])
        source = self._source(rows)
        progress = _Progress(source, state.rows)
        for number, chunk in enumerate(self._told(source, rows), 1):
            if number <= state.chunks:
                continue
            whole = self._whole(chunk, state, output)
            self._one(predictor, whole, number, state)
            crash_point("batch.chunk")
            state.chunks, state.rows = number, state.rows + chunk.num_rows
            write_state(vars(state), self._state_path)
            progress.tell(state.rows)
        broken = [{"line": b.line, "reason": b.reason, "raw": b.raw} for b in source.broken]
        if broken and self._inputs.get("strict"):
            raise _strict(f"line {broken[0]['line']}: {broken[0]['reason']}")
        write_lines(broken, self._draft / f"broken{REJECTED}")
        state.rows += len(broken)
        state.rejected += len(broken)
        progress.tell(state.rows, last=True)

    def _told(self, source: Source, rows: int) -> Iterator[pa.Table]:
        """The chunks, and what stops the reading of them in our own words. A table without
        rows is one chunk, so that its columns are looked at."""
        some = False
        try:
            for chunk in chunks(source.pieces, rows):
                some = True
                yield chunk
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise unreadable(self._input, error) from error
        if not some and source.schema is not None:
            yield source.schema.empty_table()

    def _whole(self, chunk: pa.Table, state: _State, output: OutputTable) -> pa.Table:
        """`chunk` with the columns of those before it, in their order, and its own. JSON
        objects may differ in their keys, and a CSV's header can't grow."""
        new = [name for name in chunk.column_names if name not in state.names]
        if state.names and self._kind == "csv":
            state.left_out += [name for name in new if name not in state.left_out]
        else:
            state.names += new
        state.own = output.named(state.names, state.own)
        nothing = pa.nulls(chunk.num_rows)
        names = dict.fromkeys([*state.names, *new])
        return pa.table({n: chunk.column(n) if n in chunk.column_names else nothing for n in names})

    def _warnings(self, about: Description, state: _State) -> list[str]:
        """What was done with the columns that nobody may have meant."""
        found: list[str] = []
        names = [*state.names, *state.left_out]
        missing = [c.name for c in about.columns if c.name not in names] if names else []
        if missing:
            hints = "".join(nearest(name, names) for name in missing[:1])
            found.append(f"Predicted without the columns: {_listed(missing)}.{hints}")
        if state.left_out and not self._only:
            found.append(
                f"Columns that begin after the first chunk aren't in the CSV:"
                f" {_listed(state.left_out)}. Parquet and JSON lines take them."
            )
        return found

    def _about(self) -> Description:
        files = ModelFiles(self._folder, self._inputs["files"])
        return read_description(orjson.loads(files.read(DESCRIPTION_FILE)))

    def _reader(self, about: Description) -> Reader:
        if about.columns:
            return ColumnRows(about, self._tools, self._input)
        return TensorRows(about, self._tools, self._input)

    def _loaded(self, about: Description) -> Model:
        """Here, or where the model's own environment is."""
        files, python = self._inputs["files"], self._inputs.get("python")
        if python is None:
            return load(self._folder, files)
        return RemoteModel(Path(str(python)), self._folder, files, about)

    def _one(self, predictor: ChunkPredictor, chunk: pa.Table, number: int, state: _State) -> None:
        carried = chunk.select(state.names).rename_columns(state.own)
        found = predictor.predict(chunk, carried)
        if found.rejected and self._inputs.get("strict"):
            place = min(found.rejected)
            raise _strict(f"row {state.rows + place + 1}: {found.rejected[place]}")
        try:
            write_chunk(found.output, self._draft / f"{number:08}.{self._kind}", self._kind)
            lines = [
                {
                    "row": state.rows + i + 1,
                    "reason": reason,
                    "values": chunk.slice(i, 1).to_pylist()[0],
                }
                for i, reason in sorted(found.rejected.items())
            ]
            write_lines(lines, self._draft / f"{number:08}{REJECTED}")
        except OSError as error:
            raise _unwritable(self._draft, error) from error
        state.rejected += len(lines)

    def _source(self, rows: int) -> Source:
        if not self._input.startswith(DATASET):
            path = Path(self._input)
            return open_source(path, format_of(path, self._inputs.get("format")), rows)
        name = self._input.removeprefix(DATASET).partition("@")[0]
        version = self._inputs.get("table_version")
        total = self._tables.read(name, version=version, columns=()).num_rows
        return Source(
            self._tables.scan(name, version=version, rows=min(rows, 1 << 16)), lambda: total
        )

    # the end

    def _finish(self, state: _State) -> None:
        carried = pa.schema([(name, pa.string()) for name in state.own])
        empty = OutputTable(self._about(), only=self._only).schema(carried)
        names = [self._draft / f"{number:08}" for number in range(1, state.chunks + 1)]
        parts = [name.with_suffix(f".{self._kind}") for name in names]
        try:
            join(parts, self._target, self._kind, empty)
            if state.rejected:
                reasons = [name.with_suffix(REJECTED) for name in names]
                broken = self._draft / f"broken{REJECTED}"
                join([*reasons, broken], self._rejected, "jsonl", empty)
            elif self._inputs.get("overwrite"):  # what the replaced output had
                self._rejected.unlink(missing_ok=True)
        except OSError as error:
            raise _unwritable(self._target, error) from error
        crash_point("batch.joined")
        state.done = True
        write_state(vars(state), self._state_path)
        for file in self._draft.iterdir():
            if file != self._state_path:
                file.unlink()


class _Progress:
    """Rows, their rate and the time left, as lines of the step's log."""

    def __init__(self, source: Source, before: int) -> None:
        self._source = source
        self._before = before
        self._began = self._told = time.monotonic()

    def tell(self, rows: int, *, last: bool = False) -> None:
        """Now and then, and at the end."""
        now = time.monotonic()
        if not last and now - self._told < _TELL_S:
            return
        self._told = now
        spent = max(now - self._began, 1e-6)
        rate = (rows - self._before) / spent
        words = [f"{rows:,} rows", f"{rate:,.0f} rows/s"]
        total = self._source.total()
        if total and rows and not last:
            share = min(rows / total, 1.0)
            words.append(f"{share:.0%}")
            left = (rows / share - rows) / rate if rate else 0.0
            words.append(f"{left:,.0f} s left")
        print(", ".join(words), flush=True)  # noqa: T201 - a step's output is its log


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _strict(what: str) -> InvalidInput:
    return InvalidInput(
        f"A row can't be used, {what}.",
        "Mend it, or leave --strict out: such rows are then set aside.",
        code="batch_row",
    )


def _unwritable(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted(
            f"No space is left for {path}.",
            "Free some and resume the run: what was predicted is kept.",
            code="disk_full",
        )
    return Unavailable(
        f"{path} can't be written: {error.strerror or error}.", "Check its permissions."
    )
