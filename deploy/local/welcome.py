"""What the user reads when the stack is up: where things are, and three commands to paste. No secret is in it."""

import shlex
from pathlib import Path

_TEXT = """\
Weir is up. Ctrl-C stops it; the data stays in {folder}.

  gateway    {proxy}   (an OpenAI SDK's base_url: {proxy}/api/providers/openai/v1)
  admin API  {admin}
  admin key  {key_place}
  logs       {folder}/logs

Try it, in another terminal{in_folder}:

SETTING=$(curl -sS -X PUT {admin}/api/provider-settings \\
  -H "X-API-KEY: {key}" -H 'Content-Type: application/json' \\
  -d '{{"provider":"openai","name":"OpenAI","setting":{{"apikey":"'"${{OPENAI_API_KEY:-sk-yours}}"'"}}}}' \\
  | sed -n 's/.*"id":"\\([^"]*\\)".*/\\1/p')

KEY=$(curl -sS -X PUT {admin}/api/key-management/keys \\
  -H "X-API-KEY: {key}" -H 'Content-Type: application/json' \\
  -d '{{"name":"my first key","settingId":"'"$SETTING"'","costLimitInUsd":5}}' \\
  | sed -n 's/.*"key":"\\([^"]*\\)".*/\\1/p')

curl -sS {proxy}/api/providers/openai/v1/chat/completions \\
  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
  -d '{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"Say hello."}}]}}'
"""


def welcome(proxy: str, admin: str, folder: Path, has_admin_pass: bool) -> str:
    """The text. `proxy` and `admin` are base URLs; with `has_admin_pass` the operator chose the admin key."""
    here = Path.cwd()
    path = folder.absolute()
    is_inside = path.is_relative_to(here)
    shown = str(path.relative_to(here)) if is_inside else str(path)
    key_file = f"{shown}/admin-key"
    return _TEXT.format(
        proxy=proxy,
        admin=admin,
        folder=shown,
        key="$ADMIN_PASS" if has_admin_pass else f"$(cat {shlex.quote(key_file)})",
        key_place="the one you set as ADMIN_PASS" if has_admin_pass else f"in the file {key_file}",
        in_folder=" in this folder" if is_inside and not has_admin_pass else "",
    )
