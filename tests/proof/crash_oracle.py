"""What must hold after every death, for each dose on its own: never a sum.

With a sum, the slack that lost frames leave would hide a dose that nobody counted.
"""

from firmware_bridge.families.itp.controller import PumpController
from firmware_bridge.families.itp.driver import PumpDriver
from safety.state import State

from .crash_life import Life
from .crash_outside import Outside, Person, Witness, outcomes_of, reopened

HAPPENED = ("executed", "running", "interrupted")


def wrong_at_death(outside: Outside) -> list[str]:
    """What is wrong with what a death leaves, before any host has asked the pump."""
    opened, _ = reopened(outside.files)
    wrong = [*outside.witness.wrong, *_doubled_requests(outside.person)]
    if opened.problem is not None:
        wrong.append(f"the journal would not be trusted: {opened.problem}")
    return wrong + _under_counted(opened.state, outside.witness)


def look(life: Life, controller: PumpController) -> None:
    """Notes what is wrong with a host that has taken charge, or has ended its story."""
    state, device, wrong = controller.state, life.device, life.course.wrong
    life.runner.step()
    wrong += life.witness.wrong
    wrong += _doubled_requests(life.person)
    wrong += _under_counted(state, life.witness)
    if state.latched is not None:
        wrong.append(f"latched though nothing was lost: {state.latched}")
    wrong += [f"id {intent.id} is still unsettled" for intent in state.unsettled]
    outcomes = outcomes_of(device)
    for bolus in state.reservations:
        if outcomes.get(bolus.id) not in HAPPENED:
            wrong.append(f"id {bolus.id} counts as given, and the pump never carried it out")
    for own, volume in life.witness.doses.items():
        known = device.machine.firmware.memory.outcomes[own]
        if known.state == "executed" and known.delivered != volume:
            wrong.append(f"id {own} was executed with {known.delivered} of {volume} nL")
    blobs = device.machine.firmware.memory.programs
    held = tuple(PumpDriver().program_of(0, blob) for blob in blobs)
    if held != controller.verified_outputs():
        wrong.append("the program that counts as verified is not the one in the pump")


def _under_counted(state: State, witness: Witness) -> list[str]:
    """The doses that physics has begun for more than a journal counts. All are younger than a day,
    so that each may still lie in a window."""
    counted = {one.id: int(one.most) for one in state.reservations}
    return [
        f"id {own}: {volume} nL were given, the journal counts {counted.get(own, 0)}"
        for own, volume in witness.doses.items()
        if volume > counted.get(own, 0)
    ]


def _doubled_requests(person: Person) -> list[str]:
    requests = [request for request, _ in person.ids]
    return [
        f"request {request} of a person was given {requests.count(request)} ids"
        for request in sorted(set(requests))
        if requests.count(request) > 1
    ]
