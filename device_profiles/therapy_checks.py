"""What must agree between the values of a therapy file, checked on the tree.

Reading the tree and not the models, these checks run however many values are wrong by
themselves; a value that cannot be read is left to the models.
"""

from collections.abc import Iterator

from device_profiles.errors import UsageError
from device_profiles.notation import NotationError, parse_minute_of_day
from device_profiles.notation_grammar import shown
from device_profiles.placed import Items, Keys, Node, Text, child, node_at
from device_profiles.placed_models import Problem, problem
from device_profiles.profile import PumpProfile, StimulatorProfile
from device_profiles.profile_file import load_profile, profile_names

_CASE = "case"


def stimulation_problems(root: Keys) -> Iterator[Problem]:
    """What does not agree in a stimulation file."""
    yield from _device_problems(root, StimulatorProfile)
    programs = _items(root.get("programs"))
    names = [_text(child(program, "name")) for program in programs]
    yield from _repeated(root, "programs", names)
    start = _text(root.get("start_with"))
    if start and start not in names:
        yield problem(
            root,
            ("start_with",),
            "value",
            "FILE-08",
            f"no program has the name {shown(start)}",
            hint="the programs are " + ", ".join(name for name in names if name),
        )
    contacts = _contact_names(root)
    for index, program in enumerate(programs):
        yield from _burst_problems(root, index, program)
        for area, node in enumerate(_items(child(program, "areas"))):
            electrodes = child(node, "electrodes")
            for entry in electrodes.entries if isinstance(electrodes, Keys) else ():
                if contacts and entry.key not in contacts:
                    yield problem(
                        root,
                        ("programs", index, "areas", area, "electrodes", entry.key),
                        "value",
                        "FILE-08",
                        f"the device has no contact {shown(entry.key)}",
                        hint=f"its contacts are {contacts[1]} to {contacts[-1]} and case",
                        at_key=True,
                    )


def infusion_problems(root: Keys) -> Iterator[Problem]:
    """What does not agree in an infusion file."""
    yield from _device_problems(root, PumpProfile)
    drugs = [_text(child(drug, "name")) for drug in _items(root.get("drugs"))]
    yield from _repeated(root, "drugs", drugs)
    yield from _vial_problems(root, drugs)
    yield from _bridge_problems(root, drugs)
    yield from _basal_problems(root)


def _device_problems(
    root: Keys, family: type[StimulatorProfile] | type[PumpProfile]
) -> Iterator[Problem]:
    device = _text(root.get("device"))
    if not device:
        return
    fitting = [name for name in profile_names() if isinstance(load_profile(name), family)]
    if device in fitting:
        return
    known = device in profile_names()
    therapy = _text(root.get("therapy"))
    yield problem(
        root,
        ("device",),
        "value",
        "FILE-08",
        f"{shown(device)} does no {therapy}" if known else f"there is no device {shown(device)}",
        hint="the device profiles for this therapy: " + ", ".join(fitting),
    )


def _contact_names(root: Keys) -> tuple[str, ...]:
    """The contacts of the device named in the file; none if that is no stimulator."""
    try:
        profile = load_profile(_text(root.get("device")) or "")
    except UsageError:
        return ()
    if not isinstance(profile, StimulatorProfile):
        return ()
    return (_CASE, *(f"E{number}" for number in range(1, profile.contacts + 1)))


def _burst_problems(root: Keys, index: int, program: Node) -> Iterator[Problem]:
    waveform = _text(child(program, "waveform"))
    location = ("programs", index, "burst")
    burst = child(program, "burst")
    if waveform == "burst" and burst is None:
        yield problem(
            root,
            location,
            "missing",
            "FILE-06",
            "the key 'burst' is missing; the waveform burst needs it",
            hint="add burst: with pulses and intra_rate",
        )
    if waveform in ("tonic", "high-frequency") and burst is not None:
        yield problem(
            root,
            location,
            "extra",
            "FILE-05",
            f"the key 'burst' does not belong to the waveform {waveform}",
            hint="take it out, or write waveform: burst",
        )


def _repeated(root: Keys, key: str, names: list[str | None]) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name and name in names[:index]:
            yield problem(
                root,
                (key, index, "name"),
                "between",
                "FILE-07",
                f"the name {shown(name)} stands twice among {key}",
                hint="give each its own name",
            )


def _vial_problems(root: Keys, drugs: list[str | None]) -> Iterator[Problem]:
    vials = node_at(root, ("fill", "vials"))
    if not isinstance(vials, Keys):
        return
    for entry in vials.entries:
        if entry.key not in drugs:
            yield problem(
                root,
                ("fill", "vials", entry.key),
                "extra",
                "FILE-08",
                f"a vial of {shown(entry.key)} is filled in, but no drug has that name",
                hint="the drugs are " + ", ".join(name for name in drugs if name),
            )
    for drug in dict.fromkeys(drugs):
        if drug and vials.get(drug) is None:
            yield problem(
                root,
                ("fill", "vials", drug),
                "between",
                "SR-08",
                f"no vial of {shown(drug)} is named; each concentration is typed twice",
                hint="add the drug with the concentration on its vial's label",
            )


def _bridge_problems(root: Keys, drugs: list[str | None]) -> Iterator[Problem]:
    line = node_at(root, ("bridge", "from"))
    first = drugs[0] if drugs else None
    if isinstance(line, Keys) and line.entries and first and line.get(first) is None:
        yield problem(
            root,
            ("bridge", "from"),
            "between",
            "SR-12",
            f"the line holds no {shown(first)}, the drug that sets the flow; nothing bridges to it",
            hint="check what the line holds; if it is right, flush the line and take bridge: out",
            at_key=True,
        )


def _basal_problems(root: Keys) -> Iterator[Problem]:
    steps = _items(root.get("basal"))
    if len(steps) > 1 and root.get("timezone") is None:
        yield problem(
            root,
            ("timezone",),
            "between",
            "FILE-06",
            "the key 'timezone' is missing; a basal of more than one step needs it",
            hint="add timezone: with an IANA name such as Europe/Berlin",
        )
    latest = -1
    for index, step in enumerate(steps):
        start = child(step, "from")
        location = ("basal", index, "from")
        if start is None and len(steps) > 1 and isinstance(step, Keys):
            message = "the key 'from' is missing; only a lone step may go without it"
            yield problem(
                root, location, "missing", "FILE-06", message, hint="add from: with its time"
            )
        try:
            minute = parse_minute_of_day(_text(start) or "")
        except NotationError:
            continue
        if minute <= latest:
            yield problem(
                root,
                location,
                "value",
                "FILE-07",
                "the steps of the day stand in order, each later than the one above",
                hint="sort the steps by their time and name each time once",
            )
        latest = max(latest, minute)


def _items(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, Items) else ()


def _text(node: Node | None) -> str | None:
    return node.value if isinstance(node, Text) else None
