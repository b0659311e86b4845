"""YAML as nodes that know their lines: for small files whose errors name the place."""

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node

from device_profiles.errors import UsageError


def root_of(text: str, source: str) -> Node | None:
    """The root of a document, None for an empty one; raises UsageError that names the line."""
    try:
        root: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{source}:{line}: {error.problem}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{source}: no YAML: {error}") from error
    return root
