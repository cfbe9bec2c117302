"""`python -m deploy.catalog SOURCE`: renew shared/model_catalog.json from litellm's wheel or JSON file.

`pip download --no-deps litellm==<version>` fetches the wheel. Prices that changed are entered from `--day` on.
"""

import argparse
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from deploy.catalog.check import disagreements
from deploy.catalog.litellm import read_models, read_source
from deploy.catalog.merge import merge
from deploy.catalog.render import content_hash, render
from shared.catalog import SHIPPED, load_catalog, read_entries


def main(arguments: list[str] | None = None) -> int:
    """Write the catalogue; tell what it says that the other source does not."""
    parser = argparse.ArgumentParser(prog="python -m deploy.catalog", description=__doc__)
    parser.add_argument("source", type=Path, help="litellm's wheel, or its model_prices JSON file")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the catalogue to renew (default: the shipped one)")
    parser.add_argument("--day", type=date.fromisoformat, default=datetime.now(tz=UTC).date(), help="of changed prices")
    parser.add_argument("--check", choices=["genai-prices"], help="print where that package disagrees")
    options = parser.parse_args(arguments)

    content, label = read_source(options.source)
    fresh = read_models(content)
    version, known = read_entries(options.out) if options.out.exists() else ("", {})
    models = merge(known, fresh, options.day)
    digest = content_hash(models)
    if not version.endswith(digest):
        version = f"{options.day}.{digest}"
        options.out.write_text(render(version, {"prices": label}, models), encoding="utf-8")
    load_catalog(options.out)

    say = sys.stdout.write
    gone = len(models.keys() - fresh.keys())
    say(f"{options.out}: version {version}, {len(models)} models, {gone} of them no longer in the source\n")
    if options.check:
        lines = list(disagreements(fresh))
        say("".join(f"  {line}\n" for line in lines))
        say(f"{len(lines)} disagreements with {options.check}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
