"""The operations about duplicates: the groups, and what a person decides about them."""

from typing import Final

from coordinator.jobs.runs.duplicates.found import KINDS
from coordinator.serve.declared import answers
from coordinator.serve.declared.fields import INTEGER, INTEGERS, NUMBER, PAGE, TEXT, Field
from coordinator.serve.declared.operation import READ, WRITE, Operation, Reply

DECISION_FIELDS: Final = (
    Field("images", INTEGERS, "The image ids of a group of duplicates.", None, 2, 100_000, required=True),
    Field("keep", INTEGER, "The one of them that is to be kept; left out: no two of them are duplicates.", None, 0),
)

DUPLICATES: Final = (
    Operation(
        "duplicates",
        "GET",
        "/v1/jobs/{job}/duplicates",
        "Show the groups of duplicates that the job keeps.",
        READ,
        Reply("A page of the groups, as the command line gives them.", properties=answers.DUPLICATES,
              required=("kind", "images", "notes", "count", "groups", "next")),
        "What a search for duplicates found out is kept in the job; nothing is compared for this.",
        query=(
            Field("kind", TEXT, "What images of a group have in common; picture, or similar of imported vectors.",
                  choices=KINDS),
            Field("similarity", NUMBER, "The least similarity, as of the command.", None, 0, 1),
            *PAGE,
        ),
        refuses={409: "Not all was compared that has to be: search for duplicates first."},
    ),
    Operation(
        "decisions",
        "GET",
        "/v1/jobs/{job}/duplicates/decisions",
        "Say of which groups of duplicates it was decided what to keep.",
        READ,
        Reply("The groups, each with the last word about it.", properties=answers.DECISIONS, required=("kept",)),
    ),
    Operation(
        "decide_duplicates",
        "POST",
        "/v1/jobs/{job}/duplicates/decisions",
        "Remember which of some duplicates is to be kept, or that they are no duplicates.",
        WRITE,
        Reply("How many decisions are new: groups, or pairs that are no duplicates.", properties=answers.DECIDED,
              required=("new",)),
        "Nothing is deleted. Pairs that are no duplicates are never in one group again.",
        json=DECISION_FIELDS,
        refuses={
            409: "The job is a bundle, or this server may not write to it.",
            415: "The body is no JSON.",
            422: "An id is none of the job, or keep is none of images.",
            503: "Another process decided at the same moment: ask again.",
        },
    ),
)  # fmt: skip
