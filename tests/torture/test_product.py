"""Faults that overlap leave one process of each role behind, however they fall together."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from kafkahub.devstack.processes import Processes, Program
from tests.torture.parts import PRODUCT, ROOT
from tests.torture.product import Product, Running


class Idle(Product):
    """A product whose processes do nothing; ``started`` are all there ever were."""

    def __init__(self, processes: Processes, folder: Path) -> None:
        super().__init__(processes, folder, {})
        self.processes, self.folder = processes, folder
        self.started: list[Running] = []

    def _start(
        self, role: str, command: tuple[str, ...], env: Mapping[str, str], port: int = 0
    ) -> Running:
        del command
        program = Program(name=role, argv=("sleep", "60"), env=env, cwd=ROOT, tier=PRODUCT)
        self.started.append(Running(role, self.processes.start(program), self.folder, port))
        return self.started[-1]

    def living(self) -> list[Running]:
        return [one for one in self.started if one.is_alive]


@pytest.fixture
def product(tmp_path: Path) -> Iterator[Idle]:
    with Processes() as processes:
        yield Idle(processes, tmp_path)


def kill_everything(product: Product) -> None:
    for one in product.everything():
        one.kill()


def test_what_a_fault_keeps_away_no_other_fault_brings_back(product: Idle) -> None:
    product.start_control()
    product.kill_control()

    kill_everything(product)
    product.restart_others()
    assert product.living() == []

    product.start_control()
    assert product.living() == [product.control]


def test_what_came_back_while_everything_was_dead_is_not_started_twice(product: Idle) -> None:
    product.start_control()
    product.start_web()
    kill_everything(product)

    product.kill_control()
    product.start_control()
    product.restart_others()

    assert sorted(one.role for one in product.living()) == ["control", "web"]
