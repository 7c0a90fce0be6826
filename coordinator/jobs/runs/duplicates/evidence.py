"""Turn the evidence of a pair around: that of a hit and a query instead of a query and a hit (pure)."""

from shared.messages.verdicts import Evidence, Matrix, Quad


def turned_around(evidence: Evidence) -> Evidence:
    """The evidence of the same pair with query and hit in each other's place."""
    (a, b, c), (d, e, f) = evidence.matrix
    by = a * e - b * d
    inverse: Matrix = (
        (e / by, -b / by, (b * f - e * c) / by),
        (-d / by, a / by, (d * c - a * f) / by),
    )
    query, hit = _from_upper_left(evidence.hit_quad, evidence.query_quad, backwards=evidence.mirrored)
    # To mirror and then turn is undone by the same, to turn by turning back.
    turned = evidence.turned if evidence.mirrored or evidence.turned == 180 else 0.0 - evidence.turned
    return Evidence(
        inliers=evidence.inliers,
        aligned=evidence.aligned,
        matrix=inverse,
        query_quad=query,
        hit_quad=hit,
        query_overlap=evidence.hit_overlap,
        hit_overlap=evidence.query_overlap,
        turned=turned,
        mirrored=evidence.mirrored,
    )


def _from_upper_left(query: Quad, hit: Quad, *, backwards: bool) -> tuple[Quad, Quad]:
    """The corners of both in the order that evidence has: clockwise in the query, from its upper left one."""
    both = list(zip(query, hit, strict=True))
    if backwards:
        both.reverse()
    first = min(range(4), key=lambda place: sum(both[place][0]))
    one, two, three, four = (*both[first:], *both[:first])
    return (one[0], two[0], three[0], four[0]), (one[1], two[1], three[1], four[1])
