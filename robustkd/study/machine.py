"""What a run's results depend on in addition to its options and its data: the machine, and how it computes.

The same options on the same machine with the same number of threads result in the same bits, whatever the number of jobs.
"""

from collections.abc import Iterable
from typing import Any

from robustkd.evaluation.results import Result


class Machine(Result):
    """A machine that trained a run, and how it computed.

    Attributes:
        torch: its version.
        device: the name of the GPU or of the processor.
        instructions: the processor's widest instructions that torch uses, as AVX2 or AVX512 AMX.
        threads: of the run.
        precision: bf16 or fp32.
        flags: of torch's backends, as {"cudnn.benchmark": "True"}, and, unless they are off or 1,
            `compile` and the `processes` that trained it together.
    """

    torch: str
    device: str
    instructions: str
    threads: int
    precision: str
    flags: dict[str, str]

    def differences(self, other: "Machine") -> list[str]:
        """Return what differs in another machine, as ["threads 1 and 2"]."""
        one, two = self._values(), other._values()
        return [f"{name} {one.get(name)} and {two.get(name)}" for name in one | two if one.get(name) != two.get(name)]

    def _values(self) -> dict[str, Any]:
        return {**self.model_dump(exclude={"flags"}), "compile": "off", "processes": "1", **self.flags}


def machine_differences(machines: Iterable[Machine]) -> str:
    """Return in what machines differ from the first, as "threads 1 and 2"; an empty string where they do not."""
    given = list(machines)
    return ", ".join(dict.fromkeys(text for other in given[1:] for text in given[0].differences(other)))


def continue_on(earlier: list[Machine], now: Machine) -> tuple[list[Machine], str]:
    """Return the machines of a run that continues, and a sentence for the user if the present one is another than the last."""
    if not earlier:
        return [now], ""
    differences = earlier[-1].differences(now)
    if not differences:
        return earlier, ""
    return [*earlier, now], (
        f"it continues on another machine than before ({', '.join(differences)}), so its weights may differ from those"
        " without the interruption"
    )
