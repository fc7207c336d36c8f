"""Classes by their names, as the annotations of a labelling tool have them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from batchseg.labels.label_map import LabelMap, is_background, truth_fault
from batchseg.labels.names import fold_name

_NAMED, _KNOWN = 5, 20


class NamedClasses:
    """What names in a truth mean. Case and separators do not count: `Traffic-Light` is `traffic light`."""

    def __init__(self, label_map: LabelMap) -> None:
        self.label_map = label_map

    @cached_property
    def ids(self) -> dict[str, int]:
        """Folded name -> class id or void. A name that means two of them is left out."""
        labels, known = self.label_map, dict[str, int]()
        own = {name: index for index, name in enumerate(labels.names)}
        for names in (labels.read_names, own):  # a class's own name counts before any other
            meanings: dict[str, set[int]] = {}
            for name, to in names.items():
                class_id = labels.void if to == labels.ignore_index else to
                meanings.setdefault(fold_name(name), set()).add(class_id)
            for name, ids in meanings.items():
                known.pop(name, None)
                if len(ids) == 1:
                    known[name] = next(iter(ids))
        return known

    @property
    def unannotated(self) -> int:
        """What pixels are that nobody annotated: the class called background, or void."""
        names = self.label_map.names
        found = (index for index, name in enumerate(names) if is_background(name))
        return next(found, self.label_map.void)

    @property
    def sentence(self) -> str:
        """What is done with pixels that none or several annotations have."""
        class_id = self.unannotated
        are = (
            "count nowhere" if class_id == self.label_map.void else f"are {self.label_map.names[class_id]!r}"
        )
        return f"pixels that nobody annotated {are}; later annotations lie on top"

    def ids_of(self, names: Sequence[str | None]) -> list[int]:
        """Class ids, and void; None stands for what nobody annotated. Raises RowFault (out_of_range)."""
        if sentence := self._problem(names):
            raise truth_fault("OUT_OF_RANGE", sentence)
        return [self.id_of(name) or 0 for name in names]

    def unknown(self, names: Sequence[str], where: str) -> str | None:
        """One sentence where some of the names in a file are no classes of the label map."""
        sentence = self._problem(names)
        return f"{where}: {sentence}" if sentence else None

    def id_of(self, name: str | None) -> int | None:
        """Class id or void, None where the name is unknown; None stands for what nobody annotated.

        A background is that as well, where no class is called as it is.
        """
        found = None if name is None else self.ids.get(fold_name(name))
        return self.unannotated if found is None and (name is None or is_background(name)) else found

    def _problem(self, names: Sequence[str | None]) -> str | None:
        unknown = [name for name in names if self.id_of(name) is None]
        if not unknown:
            return None
        is_a_class = (
            "is annotated, and is no class" if len(unknown) == 1 else "are annotated, and are no classes"
        )
        return (
            f"{_some(unknown, _NAMED, quoted=True)} {is_a_class} of the label map "
            f"({_some(self.label_map.names, _KNOWN)}); rename it in the labelling tool, or give a label map "
            "(--labels FILE) that has it among the synonyms of a class, or in ignored_names"
        )


def _some(names: Sequence[str | None], count: int, *, quoted: bool = False) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(repr(name) if quoted else str(name) for name in names[:count]) + more
