"""JSON Schema (draft 2020-12) of therapy files, for editors; made from the models that read them.

An editor parses YAML into types first, so counts are integers and ``primed`` is a boolean here,
where the reader sees text. The schema knows one file's form; what must agree between values, and
every limit, is the business of `neuraxis check`.
"""

import json
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from device_profiles.therapy_models import InfusionFile, StimulationFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _FileSchema(GenerateJsonSchema):
    """A key that may be absent is not required; ``null`` is never a value of these files."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def therapy_schema() -> dict[str, Any]:
    """The schema of both kinds of therapy file, told apart by the key ``therapy``."""
    adapter: TypeAdapter[StimulationFile | InfusionFile] = TypeAdapter(
        Annotated[StimulationFile | InfusionFile, Field(discriminator="therapy")]
    )
    schema = adapter.json_schema(schema_generator=_FileSchema)
    # OpenAPI's word, not JSON Schema's; the constants of `therapy` do the same work.
    schema.pop("discriminator", None)
    return {"$schema": _DIALECT, "title": "neuraxis therapy file", **schema}


def schema_text() -> str:
    """The schema as the text of `data/therapy.schema.json`."""
    return json.dumps(therapy_schema(), indent=2, ensure_ascii=False) + "\n"
