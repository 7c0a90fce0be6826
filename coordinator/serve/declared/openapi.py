"""Make the OpenAPI document of the declared operations (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from coordinator.serve.declared.answers import PROBLEM as PROBLEM_SCHEMA
from coordinator.serve.declared.fields import Field
from coordinator.serve.declared.operation import JSON, PROBLEM, Operation
from coordinator.serve.declared.operations import EVERYWHERE, PATH_FIELDS


def document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lookalike",
            "version": version,
            "description": "Find, among millions of images, the ones that match.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": PROBLEM_SCHEMA},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": operation.name, "summary": operation.summary}
    if operation.what:
        told["description"] = operation.what
    parameters = [_parameter(PATH_FIELDS[name], "path") for name in operation.path_fields]
    parameters += [_parameter(field, "query") for field in operation.query]
    if parameters:
        told["parameters"] = parameters
    bodies = {JSON: operation.json, "multipart/form-data": operation.parts}
    if any(bodies.values()):
        content = {media: {"schema": _object(fields)} for media, fields in bodies.items() if fields}
        told["requestBody"] = {"required": True, "content": content}
    # Without keys none is asked for, so a request without one is as good.
    told["security"] = [] if operation.scope is None else [{"key": []}, {}]
    told["responses"] = _responses(operation)
    return told


def _responses(operation: Operation) -> dict[str, Any]:
    reply = operation.reply
    content: dict[str, Any] = {reply.media_type: {"schema": reply.schema()} if reply.media_type == JSON else {}}
    responses: dict[str, Any] = {str(reply.status): {"description": reply.what, "content": content}}
    for status, when in sorted((EVERYWHERE | dict(operation.refuses)).items()):
        schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
        responses[str(status)] = {"description": when, "content": {PROBLEM: schema}}
    return responses


def _parameter(field: Field, place: str) -> dict[str, Any]:
    schema = dict(field.schema())
    return {
        "name": field.name,
        "in": place,
        "required": place == "path" or field.required,
        "description": schema.pop("description"),
        "schema": schema,
    }


def _object(fields: Sequence[Field]) -> Mapping[str, Any]:
    return {
        "type": "object",
        "properties": {field.name: field.schema() for field in fields},
        "required": [field.name for field in fields if field.required],
        "additionalProperties": False,
    }
