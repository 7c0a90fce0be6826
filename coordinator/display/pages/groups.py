"""Show groups of duplicates as lines."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from coordinator.jobs.runs.duplicates.found import Found, Group, Member
from shared.images.paths import shown_path
from shared.text import size


def group_lines(found: Found) -> Iterator[Text]:
    """The groups, each with its number, and a line for each image: its id, what it is, and its path."""
    width = len(str(max((member.id for group in found.groups for member in group.members), default=0)))
    for number, group in enumerate(found.groups, start=1):
        yield Text(f"group {number:,}  ·  {len(group.members):,} images", style="bold")
        for member in group.members:
            line = Text(f"{'keep' if member is group.kept else '':4}  {member.id:>{width}}  ")
            line.append(verdict_of(member, group), style="bold" if member is group.kept else "dim")
            line.append(f"  {shown_path(member.image_path)}")
            yield line
        for one in group.beside:
            yield Text(
                f"{'':4}  {one.id:>{width}}  beside it: shows what {one.member} shows  {shown_path(one.image_path)}"
            )


def verdict_of(member: Member, group: Group) -> str:
    """What a member is, or why it is the one to be kept."""
    if member is group.kept:
        return ": ".join(filter(None, (", ".join(facts_of(member)), group.reason)))
    return ", ".join(filter(None, (member.verdict, why_of(member))))


def why_of(member: Member) -> str:
    """What proves the verdict of a member, and what would be lost with it."""
    said = []
    if member.evidence is not None:
        said.append(member.evidence.description.replace("of the query", "of it"))
    elif member.similarity is not None:
        said.append(f"{member.similarity:.4f}")
    if member.shows_more:
        said.append("shows more than the one to keep")
    if member.is_finer:
        said.append("finer than in the one to keep")
    return ", ".join(said)


def facts_of(member: Member) -> list[str]:
    """The size of an image in pixels and bytes, as far as they are known."""
    pixels = f"{member.width:,} x {member.height:,}" if member.width and member.height else ""
    return [text for text in (pixels, "" if member.bytes is None else size(member.bytes)) if text]


def summary_line(found: Found) -> str:
    """How many groups there are, of how many images."""
    images = "1 image" if found.images == 1 else f"{found.images:,} images"
    if not found.groups:
        return f"No duplicates among {images} ({_asked(found)})."
    groups = "1 group" if len(found.groups) == 1 else f"{len(found.groups):,} groups"
    others = "1 image" if found.others == 1 else f"{found.others:,} images"
    return f"{groups} among {images} ({_asked(found)}): {others} beside those to be kept. Nothing was deleted."


def _asked(found: Found) -> str:
    return f"kind {found.kind}" + ("" if found.similarity is None else f", similarity from {found.similarity:g}")


def others_to_go(found: Found) -> tuple[Sequence[str], int]:
    """The paths of the images that the kept ones make needless, and how many are not: they show more or are finer."""
    others = [member for group in found.groups for member in group.others]
    return [one.image_path for one in others if one.is_needless], sum(not one.is_needless for one in others)
