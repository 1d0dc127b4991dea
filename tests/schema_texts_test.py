#!/usr/bin/env python3
"""schema_texts_test.py GRAMMAR_TEST: random texts of every schema that the grammar compiles from the official suites (shared
data) are valid for a validator of another make (python3-jsonschema). Formats are checked where it can."""
import collections
import decimal
import json
import os
import subprocess
import sys
import tempfile

import jsonschema
import jsonschema.validators

# Classes that are other ones for Python's expressions than for ECMA-262's.
OTHER_CLASSES = ("\\s", "\\S", "\\w", "\\W", "\\d", "\\D")


def multiple_of(_validator, factor, value, _schema):
    """As JSON means it: the validator's own divides in binary64, where 4.43 is no multiple of 0.0001."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and decimal.Decimal(repr(value)) % decimal.Decimal(repr(factor)) != 0:
        yield jsonschema.ValidationError(f"{value} is not a multiple of {factor}")


VALIDATORS = {name: jsonschema.validators.extend(kind, {"multipleOf": multiple_of}) for name, kind in (
    ("draft2020-12", jsonschema.Draft202012Validator), ("draft7", jsonschema.Draft7Validator))}


def main(program):
    if not os.environ.get("EXO_SHARED"):
        sys.exit("EXO_SHARED is not set")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "texts.jsonl")
        subprocess.run([program, "--gtest_filter=SchemaSuiteTest.RandomTextsAreJson"], check=True,
                       stdout=subprocess.DEVNULL, env={**os.environ, "EXO_GRAMMAR_TEXTS": path})
        with open(path) as file:
            cases = [json.loads(line) for line in file]
    schemas, validators, bad, skipped = set(), {}, [], collections.Counter()
    for case in cases:
        key = json.dumps([case["suite"], case["schema"]])
        if any(json.dumps(name)[1:-1] in key for name in OTHER_CLASSES):
            skipped["class of the expression"] += 1
            continue
        schemas.add(key)
        if key not in validators:
            kind = next(kind for name, kind in VALIDATORS.items() if name in case["suite"])
            validators[key] = kind(case["schema"], format_checker=kind.FORMAT_CHECKER)
        try:
            value = json.loads(case["text"])
            validators[key].validate(value)
        except (jsonschema.ValidationError, json.JSONDecodeError) as error:
            bad.append((case, str(error).splitlines()[0]))
        except Exception as error:  # the validator's own: it would fetch a document, or its regexes are not ECMA's
            skipped[type(error).__name__] += 1
    for case, error in bad[:20]:
        print(f"{json.dumps(case['schema'])}\n  {case['text']}\n  {error}")
    print(f"{len(cases)} texts of {len(schemas)} schemas, {len(bad)} invalid, {sum(skipped.values())} not judged {dict(skipped)}")
    sys.exit(1 if bad or len(cases) < 10_000 else 0)


main(sys.argv[1])
