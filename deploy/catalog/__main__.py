"""`python -m deploy.catalog SOURCE`: renew shared/model_catalog.json from litellm's wheel or JSON file.

`pip download --no-deps litellm==<version>` fetches the wheel. Prices that changed are entered from `--day` on. With
`--history genai-prices` that package tells since when, what is announced, and the models that it alone lists, which
the file's `source` names. What stays out is printed with the reason; with `--check genai-prices` also every price on
which the two differ.
"""

import argparse
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from deploy.catalog.check import disagreements
from deploy.catalog.genai import GenaiPrices
from deploy.catalog.history import with_history
from deploy.catalog.litellm import read_left_out, read_models, read_source
from deploy.catalog.merge import merge
from deploy.catalog.render import content_hash, render
from deploy.catalog.second import only_theirs
from shared.catalog import SHIPPED, load_catalog, read_entries


def main(arguments: list[str] | None = None) -> int:
    """Write the catalogue; tell what it says that the other source does not."""
    parser = argparse.ArgumentParser(prog="python -m deploy.catalog", description=__doc__)
    parser.add_argument("source", type=Path, help="litellm's wheel, or its model_prices JSON file")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the catalogue to renew (default: the shipped one)")
    parser.add_argument("--day", type=date.fromisoformat, default=datetime.now(tz=UTC).date(), help="of changed prices")
    parser.add_argument("--history", choices=["genai-prices"], help="where days and announced prices come from")
    parser.add_argument("--check", choices=["genai-prices"], help="print where that package disagrees")
    options = parser.parse_args(arguments)

    content, label = read_source(options.source)
    sources, fresh, left_out = {"prices": label}, read_models(content), read_left_out(content)
    if options.history:
        other = GenaiPrices()
        theirs, reasons = only_theirs(fresh, other, options.day)
        for reason, names in reasons.items():
            left_out.setdefault(reason, []).extend(names)
        fresh = {provider: {**models, **theirs.get(provider, {})} for provider, models in fresh.items()}
        sources["history"], fresh = other.label, with_history(fresh, other, options.day)
        sources |= {f"{other.label} alone, {provider}": " ".join(sorted(theirs[provider])) for provider in theirs}
    version, known = read_entries(options.out) if options.out.exists() else ("", {})
    models = merge(known, fresh, options.day)
    digest = content_hash(models)
    if not version.endswith(digest):
        version = f"{options.day}.{digest}"
        options.out.write_text(render(version, sources, models), encoding="utf-8")
    load_catalog(options.out)

    say = sys.stdout.write
    for provider, entries in models.items():
        gone = len(entries.keys() - fresh.get(provider, {}).keys())
        say(f"{provider}: {len(entries)} models, {gone} of them no longer in the source\n")
    for reason, names in sorted(left_out.items()):
        say(f"left out, {reason}: {', '.join(sorted(set(names)))}\n")
    say(f"{options.out}: version {version}\n")
    if options.check:
        found = list(disagreements(models, GenaiPrices(), options.day))
        say("".join(f"  {one}\n" for one in found))
        both = [one for one in found if one.is_contradiction]
        open_ones = sum(1 for one in both if not one.reason)
        say(f"{len(both)} prices differ from {options.check}, {open_ones} of them for no known reason; ")
        say(f"{len(found) - len(both)} are listed by one side only\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
