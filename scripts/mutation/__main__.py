"""Change one operator or number of a module at a time, and see whether its tests notice.

cosmic-ray makes the mutants. Each is tested in a process that is forked from one in which what is slow to
import has been imported already, in a copy of the repository.
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from hypothesis import HealthCheck, settings
from modules import EQUIVALENT, MODULES

ROOT = Path(__file__).parents[2]
OUTPUT = "output-of-the-tests"
MIN_KILLED = 0.9
TIMEOUT_FACTOR, MIN_TIMEOUT_S = 5, 10.0
"""A mutant whose tests take so many times as long as without it counts as noticed."""

PYTEST = (
    "-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutate",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
)  # fmt: skip

OPERATORS = [
    f"core/{name}"
    for name in (
        *(f"ReplaceComparisonOperator_{pair}" for pair in (
            "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Is_IsNot", "IsNot_Is",
        )),
        *(f"ReplaceBinaryOperator_{pair}" for pair in (
            "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul",
            "BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitOr", "LShift_RShift", "RShift_LShift",
        )),
        "ReplaceUnaryOperator_USub_UAdd", "ReplaceUnaryOperator_Delete_Not", "AddNot",
        "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd",
        "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "NumberReplacer", "ZeroIterationForLoop",
    )
]  # fmt: skip

# The same examples for each mutant, however busy the machine is.
settings.register_profile(
    "mutate", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


class Mutant(NamedTuple):
    """A module with one change, in one line."""

    module: str
    line: int
    before: str
    after: str
    code: str


def mutants_of(module: str) -> Iterator[Mutant]:
    """Every mutant of a module but those that only change a declaration, or nothing."""
    code = (ROOT / module).read_text("utf-8")
    declarations = list(_declarations(code))
    nodes = list(ast_nodes(get_ast(code)))
    for name in OPERATORS:
        operator = get_operator(name)()
        positions = [position for node in nodes for position in operator.mutation_positions(node)]
        for occurrence, (start, _) in enumerate(positions):
            if any(first <= start < last for first, last in declarations):
                continue
            changed = mutate_code(code, operator, occurrence)
            pairs = zip(code.splitlines(), (changed or code).splitlines(), strict=False)
            differing = [(n, *pair) for n, pair in enumerate(pairs, 1) if pair[0] != pair[1]]
            if changed and differing:
                line, before, after = differing[0]
                yield Mutant(module, line, before.strip(), after.strip(), changed)


def _declarations(code: str) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Where annotations are, and the keywords of classes and their decorators: mypy's business. And
    `strict=True`, which is never reached where the code is right."""
    for node in ast.walk(ast.parse(code)):
        parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        if isinstance(node, ast.ClassDef):
            parts += [*(keyword.value for keyword in node.keywords), *node.decorator_list]
        if isinstance(node, ast.keyword) and node.arg == "strict":
            parts.append(node.value)
        for part in parts:
            if isinstance(part, ast.expr):
                yield (part.lineno, part.col_offset), (part.end_lineno or 0, part.end_col_offset or 0)


def tests_of(module: str) -> list[str]:
    """The module's mirrored test, and what else tests it."""
    path = Path(module)
    mirror = Path("tests", path.parent, f"test_{path.name}")
    return [str(mirror)] * (ROOT / mirror).exists() + [f"tests/{other}" for other in MODULES[module]]


class Copy:
    """A copy of the repository, in which this process tests one mutant at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(
            ROOT, self._folder, ignore=shutil.ignore_patterns(".*", "__pycache__"), dirs_exist_ok=True
        )
        self._seconds: dict[str, float] = {}
        os.environ["PYTHONPATH"] = str(self._folder)
        sys.path.insert(0, str(self._folder))
        os.chdir(self._folder)

    def notices(self, mutant: Mutant) -> bool:
        """Whether a test fails."""
        module, file = mutant.module, self._folder / mutant.module
        sound = file.read_text("utf-8")
        if module not in self._seconds:
            started = time.monotonic()
            if not self._passes(module, None):
                said = (self._folder / OUTPUT).read_text("utf-8", errors="replace")
                raise RuntimeError(f"未作改动，测试也不通过 · fails without a mutant: {module}\n{said}")
            self._seconds[module] = time.monotonic() - started
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            compiled.unlink()
        file.write_text(mutant.code, "utf-8")
        try:
            return not self._passes(module, max(MIN_TIMEOUT_S, TIMEOUT_FACTOR * self._seconds[module]))
        finally:
            file.write_text(sound, "utf-8")

    def _passes(self, module: str, timeout_s: float | None) -> bool:
        child = os.fork()
        if not child:
            os.setsid()
            output = os.open(self._folder / OUTPUT, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            for descriptor in range(3):
                os.dup2(output, descriptor)
            # What is compiled while a mutant stands must not outlive it.
            sys.dont_write_bytecode = timeout_s is not None
            os._exit(pytest.main([*PYTEST, *tests_of(module)]))
        deadline = time.monotonic() + (timeout_s or 600)
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return status == 0
            if time.monotonic() > deadline:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return False
            time.sleep(0.01)


_copy: Copy
"""Of this process of the pool."""


def _begin(folder: str) -> None:
    global _copy  # noqa: PLW0603
    _copy = Copy(Path(tempfile.mkdtemp(dir=folder)))


def _is_noticed(mutant: Mutant) -> bool:
    return _copy.notices(mutant)


def main(modules: Sequence[str], jobs: int) -> int:
    print(f"{'':64} mutants  killed  survived  equivalent")
    enough, totals = True, [0, 0, 0, 0]
    with (
        tempfile.TemporaryDirectory(prefix="linli-mutants-") as folder,
        ProcessPoolExecutor(jobs, initializer=_begin, initargs=(folder,)) as pool,
    ):
        for module in modules:
            mutants = list(mutants_of(module))
            noticed = list(pool.map(_is_noticed, mutants))
            survived = [mutant for mutant, seen in zip(mutants, noticed, strict=True) if not seen]
            equivalent = [m for m in survived if (m.before, m.after) in EQUIVALENT.get(module, {})]
            true = [mutant for mutant in survived if mutant not in equivalent]
            counts = [len(mutants), sum(noticed), len(true), len(equivalent)]
            totals = [total + count for total, count in zip(totals, counts, strict=True)]
            enough &= sum(noticed) >= MIN_KILLED * (len(mutants) - len(equivalent))
            print(_row(module, counts), flush=True)
            for mutant in true:
                print(
                    f"  {mutant.line}: {mutant.before}\n{'':{len(str(mutant.line))}}    {mutant.after}",
                    flush=True,
                )
    print(_row("", totals))
    return 0 if enough else 1


def _row(name: str, counts: Sequence[int]) -> str:
    mutants, killed, survived, equivalent = counts
    percent = 100 * killed / max(1, mutants - equivalent)
    return f"{name:64} {mutants:7} {killed:7} {survived:9} {equivalent:11} {percent:5.0f} %"


if __name__ == "__main__":
    parser = argparse.ArgumentParser("scripts/mutate", description=__doc__.splitlines()[0])
    parser.add_argument("module", nargs="*", choices=[*MODULES, []], help="不写则全部 · all unless named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    sys.exit(main(options.module or list(MODULES), options.jobs))
