"""Attacks on a sealed device by somebody who reads, keeps, changes and sends all bytes of its line.

Each attack is a sentence that must be true. Each wrong twin of the sealing has a mistake that has
been made before, and the sentence that finds it.
"""

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st
from sealed_bench import KEY, OTHER_KEY, STIMULATION, Line, infusion
from simulator_bench import BORN_MS

from firmware_bridge.families.conversation import Conversation
from firmware_bridge.families.itp.wire import Bolus, PumpStatus
from firmware_bridge.families.scs.wire import Renew, Renewed, Start, StimulatorStatus
from firmware_bridge.protocol import seal
from firmware_bridge.protocol.blob import digest_of, encode_program
from firmware_bridge.protocol.messages import (
    AskStatus,
    Challenged,
    Commit,
    Done,
    Open,
    OpenSealed,
    Prove,
    Proved,
    Read,
    Refused,
    Reply,
    Stage,
    Stop,
    Stopped,
)
from firmware_bridge.protocol.seal import (
    MAX_COUNTER,
    Altered,
    CounterUsedUp,
    DeviceKey,
    Handshake,
    OtherSession,
    Replayed,
    SealedLine,
)
from firmware_bridge.simulator.device import SimulatedDevice

BOLUS = Bolus(77, 10_000, 120_000)


def pump(session: int = 1) -> Line:
    """A pump that delivers its basal, in a sealed session."""
    line = Line("pump")
    line.connect(session)
    line.program(1, infusion())
    return line


def stimulating() -> Line:
    """A stimulator whose output lives on a lease of 3 s."""
    line = Line("stimulator")
    line.connect(1)
    line.program(1, STIMULATION)
    digest = digest_of(encode_program(STIMULATION))
    assert line.ask(Start(2, 0, digest, [2_000], 3_000)) == [Done(2)]
    return line


def is_on(line: Line) -> bool:
    (status,) = line.say(AskStatus())
    assert isinstance(status, StimulatorStatus)
    return status.state != "off"


def codes(replies: list[Any]) -> list[str]:
    return [reply.code if isinstance(reply, Refused) else type(reply).__name__ for reply in replies]


# --- the sentences -------------------------------------------------------------------------------


def a_bolus_that_was_held_back_is_not_given_in_a_new_session() -> None:
    line = pump()
    held = line.sealed(BOLUS)
    line.connect(2)
    assert codes(line.deliver(held)) == ["wrong-session"]
    assert line.done("bolus of") == 0


def a_bolus_that_was_held_back_is_not_given_in_a_new_session_of_the_same_number() -> None:
    line = pump()
    held = line.sealed(BOLUS)
    line.connect(1)
    assert line.deliver(held) == []
    assert line.done("bolus of") == 0
    assert line.dropped == (1, 0)


def a_recorded_bolus_is_not_answered_again_in_its_own_session() -> None:
    line = pump()
    sent = line.sealed(BOLUS)
    assert line.deliver(sent) == [Done(77)]
    assert line.deliver(sent) == []
    assert (line.done("bolus of"), line.dropped) == (1, (0, 1))


def a_recorded_renewal_keeps_no_output_alive() -> None:
    line = stimulating()
    line.at(1_000)
    renewal = line.sealed(Renew(3_000))
    assert line.deliver(renewal) == [Renewed()]
    for moment in range(2_000, 9_000, 1_000):
        line.at(moment)
        line.deliver(renewal)
    assert not is_on(line)


def a_frame_that_was_overtaken_is_dropped() -> None:
    line = pump()
    old, new = encode_program(infusion(300_000)), encode_program(infusion(200_000))
    overtaken = line.sealed(Stage(0, old))
    line.ask(Stage(0, new))
    assert line.deliver(overtaken) == []
    assert line.ask(Commit(2, 1, digest_of(new))) == [Done(2)]
    assert line.dropped == (0, 1)


def a_frame_that_comes_back_to_its_sender_is_none_of_the_other_end() -> None:
    line = pump()
    line.ask(Read(0))
    host, device = line.host, line.device.machine.firmware.conversation._line
    assert host is not None
    assert device is not None
    with pytest.raises(Altered):
        host.open(line.from_host[-1])
    assert line.deliver(line.from_device[-1]) == []
    assert line.dropped == (1, 0)


def a_host_with_another_devices_key_opens_no_session() -> None:
    line = Line("pump")
    with pytest.raises(AssertionError, match="holds another key"):
        line.connect(1, OTHER_KEY)
    (told,) = line.say(OpenSealed(5, bytes(16)))
    assert isinstance(told, Challenged)
    identity = line.device.machine.firmware._identity()
    proof = Handshake(identity, 5, bytes(16), told.nonce).proof(OTHER_KEY, "host")
    assert codes(line.say(Prove(5, proof))) == ["not-proved"]
    assert codes(line.say(Prove(5, told.proof))) == ["not-proved"], "nor with the device's own"
    assert codes(line.say(Read(0))) == ["unsealed"]


def nobody_without_the_key_ends_a_session() -> None:
    line = pump()
    line.say(OpenSealed(9, bytes(16)))
    assert codes(line.say(Prove(9, bytes(32)))) == ["not-proved"]
    assert codes(line.say(Open(9))) == ["unsealed"]
    assert codes(line.ask(Read(0))) == ["ProgramRead"]


def a_recorded_handshake_opens_nothing() -> None:
    line = Line("pump")
    line.connect(1)
    hello, proof = line.from_host[-2:]
    line.connect(2)
    line.deliver(hello)
    assert codes(line.deliver(proof)) == ["not-proved"]
    assert codes(line.ask(Read(0))) == ["ProgramRead"]


def a_recorded_proof_winds_no_counter_back() -> None:
    line = pump()
    proof = next(body for body in line.from_host if body[:2] == b"\x84\x0b")
    sent = line.sealed(BOLUS)
    assert line.deliver(sent) == [Done(77)]
    assert line.deliver(proof) == [Proved()]
    assert line.deliver(sent) == []
    assert line.ask(Read(0)) != []


def a_staged_program_survives_a_recorded_proof() -> None:
    line = pump()
    proof = next(body for body in line.from_host if body[:2] == b"\x84\x0b")
    blob = encode_program(infusion(100_000))
    line.ask(Stage(0, blob))
    line.deliver(proof)
    assert line.ask(Commit(2, 1, digest_of(blob))) == [Done(2)]


def nothing_that_was_stripped_of_its_seal_is_done() -> None:
    line = pump()
    assert codes(line.say(BOLUS, session=1)) == ["unsealed"]
    assert codes(line.say(BOLUS)) == ["unsealed"]
    assert codes(line.say(Stage(0, encode_program(infusion())), session=1)) == ["unsealed"]
    assert codes(line.say(Open(1))) == ["unsealed"]
    assert line.done("bolus of") == 0


def two_equal_frames_have_nothing_in_common() -> None:
    line = pump()
    line.sealed(Read(0))
    assert line.host is not None
    one, two = (seal.sealed_parts(line.host.seal(b"the same words"))[2] for _ in range(2))
    assert one[:14] != two[:14]


def both_ends_never_seal_alike() -> None:
    said = Handshake(Line("pump").device.machine.firmware._identity(), 1, bytes(16), bytes(16))
    ends = [said.line(KEY, end).seal(b"the same words") for end in ("host", "device")]
    assert seal.sealed_parts(ends[0])[2][:14] != seal.sealed_parts(ends[1])[2][:14]


def a_counter_that_is_used_up_ends_the_session_and_not_the_stop() -> None:
    line = pump()
    host, device = line.host, line.device.machine.firmware.conversation._line
    assert host is not None
    assert device is not None
    last = line.sealed(Read(0))
    host.sent = device.heard = MAX_COUNTER
    with pytest.raises(CounterUsedUp):
        host.seal(b"one more")
    with pytest.raises(CounterUsedUp):
        host.seal(b"from the beginning", 1)
    assert line.deliver(last) == []
    assert line.say(Stop("hold")) == [Stopped("ITP-0001")]


def a_stop_needs_no_key_and_no_session() -> None:
    line = Line("pump")
    assert line.say(Stop("flow")) == [Stopped("ITP-0001")]
    assert [type(one) for one in line.say(AskStatus(), session=12)] == [PumpStatus]


def a_stop_in_the_middle_of_a_handshake_works_sealed_and_not() -> None:
    line = pump()
    line.say(OpenSealed(9, bytes(16)))
    assert line.ask(Stop("hold")) == [Stopped("ITP-0001")]
    line.say(OpenSealed(9, bytes(16)))
    assert line.say(Stop("hold")) == [Stopped("ITP-0001")]


SENTENCES: dict[str, Callable[[], None]] = {
    sentence.__name__.replace("_", " "): sentence
    for sentence in (
        a_bolus_that_was_held_back_is_not_given_in_a_new_session,
        a_bolus_that_was_held_back_is_not_given_in_a_new_session_of_the_same_number,
        a_recorded_bolus_is_not_answered_again_in_its_own_session,
        a_recorded_renewal_keeps_no_output_alive,
        a_frame_that_was_overtaken_is_dropped,
        a_frame_that_comes_back_to_its_sender_is_none_of_the_other_end,
        a_host_with_another_devices_key_opens_no_session,
        nobody_without_the_key_ends_a_session,
        a_recorded_handshake_opens_nothing,
        a_recorded_proof_winds_no_counter_back,
        a_staged_program_survives_a_recorded_proof,
        nothing_that_was_stripped_of_its_seal_is_done,
        two_equal_frames_have_nothing_in_common,
        both_ends_never_seal_alike,
        a_counter_that_is_used_up_ends_the_session_and_not_the_stop,
        a_stop_needs_no_key_and_no_session,
        a_stop_in_the_middle_of_a_handshake_works_sealed_and_not,
    )
}


@pytest.mark.requirement("SR-20")
@pytest.mark.requirement("SR-24")
@pytest.mark.parametrize("sentence", SENTENCES)
def test_it_is_true_that(sentence: str) -> None:
    SENTENCES[sentence]()


# --- every byte ----------------------------------------------------------------------------------


@pytest.mark.requirement("SR-24")
def test_a_frame_of_which_one_bit_was_changed_is_none() -> None:
    line = pump()
    sealed = line.sealed(BOLUS)
    for place in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[place // 8] ^= 1 << place % 8
        assert not [one for one in line.deliver(bytes(altered)) if not isinstance(one, Refused)]
    assert line.done("bolus of") == 0
    assert line.deliver(sealed) == [Done(77)], "and the true one still is"


@pytest.mark.requirement("SR-24")
def test_a_frame_that_was_cut_is_none_wherever_it_was_cut() -> None:
    line = pump()
    sealed = line.sealed(BOLUS)
    for length in range(1, len(sealed)):
        for part in (sealed[:length], sealed[length:]):
            assert not [one for one in line.deliver(part) if not isinstance(one, Refused)]
    assert line.done("bolus of") == 0


@settings(max_examples=200)
@given(st.data())
def test_nothing_but_what_was_sealed_is_opened(data: st.DataObject) -> None:
    said = Handshake(IDENTITY, 1, bytes(16), bytes(16))
    body = data.draw(st.binary(min_size=1, max_size=300))
    counter = data.draw(st.integers(1, MAX_COUNTER))
    sealed = said.line(KEY, "host").seal(body, counter)
    device = said.line(KEY, "device")
    other = data.draw(
        st.one_of(
            st.binary(max_size=400),
            st.builds(
                lambda at, by: sealed[:at] + bytes([sealed[at] ^ by]) + sealed[at + 1 :],
                st.integers(0, len(sealed) - 1),
                st.integers(1, 255),
            ),
            st.builds(lambda extra: sealed + extra, st.binary(min_size=1, max_size=20)),
            st.builds(lambda cut: sealed[:cut], st.integers(0, len(sealed) - 1)),
        )
    )
    if other != sealed:
        with pytest.raises((Altered, OtherSession)):
            device.open(other)
    assert device.open(sealed) == body
    with pytest.raises(Replayed):
        device.open(sealed)
    assert device.heard == counter


IDENTITY = Line("pump").device.machine.firmware._identity()


@given(st.lists(st.integers(0, 30), max_size=60))
def test_each_counter_is_taken_once_and_never_after_a_higher_one(order: list[int]) -> None:
    said = Handshake(IDENTITY, 1, bytes(16), bytes(16))
    host, device = said.line(KEY, "host"), said.line(KEY, "device")
    frames = [host.seal(bytes([number])) for number in range(31)]
    taken = []
    for number in order:
        try:
            taken += list(device.open(frames[number]))
        except Replayed:
            assert taken
    assert taken == sorted(set(taken))


def test_a_change_of_any_word_of_the_identity_changes_what_is_proved() -> None:
    """So that a line cannot show the host another model, speed or version than there is."""
    said = Handshake(IDENTITY, 1, bytes(16), bytes(16))
    changes: dict[str, Any] = {
        "protocol": 3, "family": "scs", "model": "x", "serial": "x", "firmware": "x",
        "calibration": "x", "simulated": False, "speed": 2,
    }  # fmt: skip
    for name, value in changes.items():
        other = replace(said, identity=replace(IDENTITY, **{name: value}))
        assert other.proof(KEY, "host") != said.proof(KEY, "host"), name
        assert other.keys(KEY) != said.keys(KEY), name
    restarted = replace(said, identity=replace(IDENTITY, boot=IDENTITY.boot + 1))
    assert restarted.proof(KEY, "host") == said.proof(KEY, "host")


def test_no_text_of_a_key_shows_the_key() -> None:
    texts = (repr(KEY), str(KEY), f"{KEY}", repr([KEY]), f"{KEY!r:>40}", repr(Conversation(KEY)))
    for text in texts:
        assert KEY.secret.hex() not in text
        assert repr(KEY.secret) not in text
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(ValueError, match="32 bytes, not 3") as error:
        DeviceKey(b"abc")
    assert "abc" not in str(error.value)


def test_a_device_without_a_key_seals_nothing() -> None:
    line = Line("pump")
    line.device = SimulatedDevice(line.kind, wall_ms=BORN_MS)
    assert codes(line.say(OpenSealed(1, bytes(16)))) == ["no-key"]
    assert codes(line.say(Prove(1, bytes(32)))) == ["no-key"]
    sealed = Handshake(IDENTITY, 1, bytes(16), bytes(16)).line(KEY, "host").seal(b"\x84")
    assert codes(line.deliver(sealed)) == ["wrong-session"]
    assert codes(line.say(Open(1))) == ["Opened"]
    assert codes(line.say(Read(0), session=1)) == ["ProgramRead"]


def test_what_the_device_drops_is_counted_and_noted_in_its_log_once() -> None:
    line = pump()
    sent = line.sealed(BOLUS)
    for _ in range(5):
        line.deliver(sent)
    assert line.dropped == (0, 4)
    assert line.done("dropped a frame") == 1


# --- wrong twins ---------------------------------------------------------------------------------


def _counter_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    honest = SealedLine.open

    def twin(self: SealedLine, sealed: bytes) -> bytes:
        self.heard = 0
        return honest(self, sealed)

    patch.setattr(SealedLine, "open", twin)


class _FixedNonce:
    """An AEAD that uses one nonce again and again."""

    def __init__(self, key: bytes) -> None:
        self._honest = ChaCha20Poly1305(key)

    def encrypt(self, nonce: bytes, data: bytes, about: bytes) -> bytes:
        return self._honest.encrypt(nonce[:4] + bytes(8), data, about)

    def decrypt(self, nonce: bytes, data: bytes, about: bytes) -> bytes:
        return self._honest.decrypt(nonce[:4] + bytes(8), data, about)


def _nonce_is_used_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(seal, "ChaCha20Poly1305", _FixedNonce)


def _counter_begins_again(patch: pytest.MonkeyPatch) -> None:
    honest = SealedLine.seal

    def twin(self: SealedLine, body: bytes, counter: int | None = None) -> bytes:
        if self.sent == MAX_COUNTER:
            self.sent = 0
        return honest(self, body, counter)

    patch.setattr(SealedLine, "seal", twin)


def _proof_is_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Handshake, "is_proved", lambda *_: True)


def _both_proofs_are_alike(patch: pytest.MonkeyPatch) -> None:
    honest = Handshake.proof
    patch.setattr(Handshake, "proof", lambda self, key, end: honest(self, key, "host"))


def _direction_is_not_bound(patch: pytest.MonkeyPatch) -> None:
    honest = Handshake.keys
    patch.setattr(Handshake, "keys", lambda self, key: (honest(self, key)[0],) * 2)
    patch.setattr(seal, "_DIRECTIONS", {"host": bytes(4), "device": bytes(4)})


def _device_draws_no_nonce(patch: pytest.MonkeyPatch) -> None:
    honest = Conversation.__init__
    patch.setattr(
        Conversation, "__init__", lambda self, key, _: honest(self, key, lambda n: bytes(n))
    )


def _device_falls_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Conversation, "check", lambda *_: None)


def _proof_opens_again(patch: pytest.MonkeyPatch) -> None:
    """The pending handshake is kept, and its proof opens its session as often as it comes."""
    honest = Conversation.prove

    def twin(self: Conversation, request: Prove) -> bool:
        pending = self._pending or getattr(Conversation, "kept", None)
        Conversation.kept = self._pending = pending  # type: ignore[attr-defined]
        self._line = None
        return honest(self, request)

    patch.setattr(Conversation, "prove", twin)
    patch.setattr(Conversation, "kept", None, raising=False)


def _question_ends_the_session(patch: pytest.MonkeyPatch) -> None:
    honest = Conversation.challenge

    def twin(self: Conversation, *args: Any) -> Reply:
        self._line = None
        return honest(self, *args)

    patch.setattr(Conversation, "challenge", twin)


def _old_session_still_counts(patch: pytest.MonkeyPatch) -> None:
    honest, old = Conversation.unseal, []

    def twin(self: Conversation, body: bytes) -> bytes | None:
        if self._line is not None and self._line not in old:
            old.append(self._line)
        for line in old:
            try:
                found = line.open(body)
            except seal.SealError:
                continue
            self._line = line
            return found
        return honest(self, body)

    patch.setattr(Conversation, "unseal", twin)


TWINS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], Callable[[], None]]] = {
    "counter is not checked": (_counter_is_not_checked, a_recorded_renewal_keeps_no_output_alive),
    "counter is not checked, order": (
        _counter_is_not_checked,
        a_frame_that_was_overtaken_is_dropped,
    ),
    "nonce is used again": (_nonce_is_used_again, two_equal_frames_have_nothing_in_common),
    "counter begins again": (
        _counter_begins_again,
        a_counter_that_is_used_up_ends_the_session_and_not_the_stop,
    ),
    "proof is not compared": (
        _proof_is_not_compared,
        a_host_with_another_devices_key_opens_no_session,
    ),
    "both proofs are alike": (
        _both_proofs_are_alike,
        a_host_with_another_devices_key_opens_no_session,
    ),
    "direction is not bound": (
        _direction_is_not_bound,
        a_frame_that_comes_back_to_its_sender_is_none_of_the_other_end,
    ),
    "direction is not bound, keystream": (_direction_is_not_bound, both_ends_never_seal_alike),
    "device draws no nonce": (_device_draws_no_nonce, a_recorded_handshake_opens_nothing),
    "device falls back": (_device_falls_back, nothing_that_was_stripped_of_its_seal_is_done),
    "proof opens again": (_proof_opens_again, a_recorded_proof_winds_no_counter_back),
    "question ends the session": (
        _question_ends_the_session,
        nobody_without_the_key_ends_a_session,
    ),
    "old session still counts": (
        _old_session_still_counts,
        a_bolus_that_was_held_back_is_not_given_in_a_new_session,
    ),
}


@pytest.mark.parametrize("twin", TWINS)
def test_a_wrong_twin_is_found(twin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, sentence = TWINS[twin]
    plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, seal.SealError)):
        sentence()
