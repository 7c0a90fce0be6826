"""Turn an animated PNG into its first, still picture: OpenCV ends the process over a damaged animation."""

_ANIMATION = (b"acTL", b"fcTL", b"fdAT")


def still(data: bytes, older: bool = False) -> bytes:
    """A PNG with whole parts, without its animation; the same bytes if it has none.

    The picture is the first frame or, if the animation leaves that out, the picture for programs that show no
    animation. With `older` such a file stays as it is: OpenCV shows a later picture of it, which older jobs have.
    """
    at, begun, leaves_out = 8, False, True
    moving: list[tuple[int, int]] = []
    while at + 12 <= len(data):
        end, kind = at + 12 + int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        begun |= kind == b"IDAT"
        if kind in _ANIMATION:
            moving.append((at, end))
            leaves_out &= begun or kind != b"fcTL"
        at = end
    if not moving or (older and leaves_out):
        return data
    kept, start = [], 0
    for at, end in moving:
        kept.append(data[start:at])
        start = end
    return b"".join([*kept, data[start:]])
