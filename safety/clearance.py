"""The Clearance: the proof that an intent is counted, and the only key to a device's output."""

from device_profiles.errors import NeuraxisError
from safety.events import Intended
from safety.journal import Receipt
from safety.kernel import Continue
from safety.outputs import Output


class ClearanceError(NeuraxisError):
    """Something was about to be sent that is not what was judged and recorded."""


class Clearance:
    """SR-10: lets the Outputs of one recorded intent pass, in order.

    It is made from the journal's receipt, so nobody can hold one for a dose that is not on the
    disk; or from the kernel's word that the intent adds nothing to what flows already, which is
    the only thing that may be sent while no journal can be written. Within Python this stops
    mistakes, not malice.
    """

    __slots__ = ("_closed", "_intent", "_next")

    def __init__(self, proof: Receipt | Continue) -> None:
        self._intent = proof.event if isinstance(proof, Receipt) else proof.intent
        self._next = 0
        self._closed = False

    @property
    def intent_id(self) -> int:
        """The id of the intent, which the device remembers."""
        return self._intent.id

    @property
    def intent(self) -> Intended:
        """The recorded intent."""
        return self._intent

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The Outputs that were judged."""
        return self._intent.outputs

    def peek(self, index: int) -> Output:
        """The judged Output ``index``, for a frame that prepares it but shows nothing yet.

        Raises ClearanceError when the clearance is used up.
        """
        if index < self._next:
            raise ClearanceError(f"intent {self.intent_id:#x}: Output {index} has been shown")
        self._require(index + 1)
        return self.outputs[index]

    def take(self, count: int) -> tuple[Output, ...]:
        """The next ``count`` Outputs, for the frame that shows them; each passes once.

        Raises ClearanceError when fewer are left or the clearance is closed.
        """
        if count < 1:
            raise ClearanceError(f"intent {self.intent_id:#x}: a frame shows one Output or more")
        first, self._next = self._next, self._next + count
        self._require(self._next)
        return self.outputs[first : self._next]

    def _require(self, count: int) -> None:
        if self._closed or count > len(self.outputs):
            raise ClearanceError(
                f"intent {self.intent_id:#x}: nothing more may be sent under its clearance"
            )

    def close(self) -> None:
        """Ends the clearance: nothing more passes under it."""
        self._closed = True
