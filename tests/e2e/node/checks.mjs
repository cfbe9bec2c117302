// A check is a name and a function that throws. `finish` prints one JSON array of what became of each.
import assert from "node:assert/strict";

export { assert };
export const door = JSON.parse(process.env.DOOR);
export const TEXT = "Water finds its way over";
export const QUESTION = [{ role: "user", content: "Say hello." }];

const done = [];

export async function check(name, run) {
  try {
    await run();
    done.push({ name, error: "" });
  } catch (error) {
    done.push({ name, error: String(error?.stack ?? error) });
  }
}

// What only a gateway does; straight at upstream there is nothing to check.
export async function checkGateway(name, run) {
  if (!door.is_direct) await check(name, run);
}

// What a call threw; a call that did not throw is an error itself.
export async function thrown(run) {
  let answer;
  try {
    answer = await run();
  } catch (error) {
    return error;
  }
  throw new Error(`nothing was thrown, but answered: ${JSON.stringify(answer)?.slice(0, 300)}`);
}

export async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

export function finish() {
  console.log(JSON.stringify(done));
}
