"""Choose repairs: the least intrusive that is enough, with the reason for each not taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdiag.errors import Usage, near_matches
from xdiag.model import NotApplicable, Record
from xdiag.repair.catalogue import REPAIRS
from xdiag.repair.repair import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xdiag.repair.repair import Repair, Situation

#: The repair that needs to know nothing beforehand.
UNFORESEEN = "unify"


class Considered(Record, frozen=True):
    """A repair that was thought of: taken or not, and why."""

    repair: str
    taken: bool
    because: str


class Choice(Record, frozen=True):
    """The repairs to make, all of them together; none where there is nothing to repair."""

    repairs: tuple[str, ...] = ()
    change: Change = Change()
    considered: tuple[Considered, ...] = ()
    #: In a sentence: why these, or why none.
    because: str = ""

    @property
    def nothing_to_say(self) -> bool:
        """Whether nothing is repaired, since nothing is wrong."""
        return not self.repairs and all(not each.taken for each in self.considered)


def named(ids: Iterable[str], situation: Situation) -> Choice:
    """The repairs with these ids; raises Usage for one that is unknown or cannot be made here."""
    known = {repair.id: repair for repair in REPAIRS}
    choosing = _Choosing(situation)
    for id in ids:
        if id not in known:
            hint = near_matches(id, list(known)) or f" (there are {', '.join(known)})"
            raise Usage(f"no repair {id!r}{hint}")
        change = known[id].change(situation)
        if isinstance(change, NotApplicable):
            raise Usage(f"the repair {id} cannot be made here: {change.reason}")
        choosing.take(known[id], change, "it was asked for")
    return choosing.choice("as asked for")


def auto(situation: Situation) -> Choice:
    """The least intrusive repairs that are enough, by what is foretold of the program."""
    choosing = _Choosing(situation)
    copies = len(situation.copies)
    if copies > 1:
        because = choosing.against_two_runtimes()
    elif copies == 1 and situation.foreseeable:
        because = "one runtime is foretold: there is nothing to unify"
    else:
        because = choosing.against_the_unforeseen()
    if "truncated-handle" in situation.causes:
        because += "; " + choosing.against_truncated_handles()
    return choosing.choice(because)


@dataclass
class _Choosing:
    """A choice while it is made."""

    situation: Situation
    taken: list[Repair] = field(default_factory=list)
    change: Change = field(default_factory=Change)
    considered: list[Considered] = field(default_factory=list)

    def take(self, repair: Repair, change: Change, because: str) -> None:
        self.taken.append(repair)
        self.change = self.change | change
        self.considered.append(Considered(repair.id, True, because))

    def leave(self, repair: Repair, because: str) -> None:
        self.considered.append(Considered(repair.id, False, because))

    def choice(self, because: str) -> Choice:
        ids = tuple(repair.id for repair in self.taken)
        return Choice(ids, self.change, tuple(self.considered), because)

    def change_of(self, repair: Repair) -> Change | NotApplicable:
        """What a repair would change, if that reaches the program."""
        change = repair.change(self.situation)
        if isinstance(change, NotApplicable):
            return change
        lost = self.situation.lost(change)
        if lost:
            return NotApplicable(reason=f"the command sets or clears {' and '.join(lost)} itself")
        return change

    def against_two_runtimes(self) -> str:
        """Foretell again with one repair after the other, until there is one runtime.

        Where variables do not get that far, the loader does alone.
        """
        before = left = len(self.situation.copies)
        for repair in _for("two-runtimes"):
            change = self.change_of(repair)
            if isinstance(change, NotApplicable):
                self.leave(repair, change.reason)
            elif left == 1:
                self.leave(repair, "not needed besides")
            elif repair.id == UNFORESEEN:
                self.give_up_the_others(left)
                self.take(repair, change, "answers every request, however it is made")
                left = 1
            else:
                with_it = self.situation.copies_with(self.change | change)
                told = f"foretold again with it: {_runtimes(with_it)}"
                if with_it < left:
                    self.take(repair, change, told)
                    left = with_it
                else:
                    self.leave(repair, told)
        if left == 1:
            return f"{_runtimes(before)} are foretold, one with this"
        return f"{_runtimes(left)} are foretold whatever is changed about the start"

    def give_up_the_others(self, left: int) -> None:
        """What was taken so far is not enough, and not needed besides what is."""
        self.considered = [
            Considered(each.repair, False, f"not enough: {_runtimes(left)} are left")
            if each.taken
            else each
            for each in self.considered
        ]
        self.taken, self.change = [], Change()

    def against_the_unforeseen(self) -> str:
        for repair in _for("two-runtimes"):
            if repair.id != UNFORESEEN:
                change = self.change_of(repair)
                not_needed = "no second runtime is foretold that it would act on"
                reason = change.reason if isinstance(change, NotApplicable) else not_needed
                self.leave(repair, reason)
        repair = next(each for each in REPAIRS if each.id == UNFORESEEN)
        change = self.change_of(repair)
        why = "no HIP runtime is foretold, which is not to say that none will be opened"
        if not self.situation.foreseeable:
            why = "what the program will open cannot be foretold"
        if isinstance(change, NotApplicable):
            self.leave(repair, change.reason)
            return f"{why}, and its loader cannot be asked"
        self.take(repair, change, "acts only if a second runtime is asked for")
        return why

    def against_truncated_handles(self) -> str:
        for repair in _for("truncated-handle"):
            change = self.change_of(repair)
            if isinstance(change, NotApplicable):
                self.leave(repair, change.reason)
            elif not self.situation.may_import_old_binding:
                self.leave(repair, "no file of the program imports the module xsched_hip")
            else:
                self.take(repair, change, "XSched's binding here cuts handles to 32 bits")
                return "XSched's old binding is installed here"
        left = next(each for each in self.considered[::-1] if not each.taken)
        return f"XSched's old binding is here, and stays as it is: {left.because}"


def _for(cause: str) -> Sequence[Repair]:
    return [repair for repair in REPAIRS if repair.cause == cause]


def _runtimes(count: int) -> str:
    return f"{count} HIP runtime{'s' * (count != 1)}"
