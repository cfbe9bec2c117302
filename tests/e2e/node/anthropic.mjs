// The official Anthropic SDK for Node.
import Anthropic from "@anthropic-ai/sdk";
import { QUESTION, TEXT, assert, check, checkGateway, collect, door, finish, thrown } from "./checks.mjs";

const client = new Anthropic({ baseURL: door.anthropic_url, apiKey: door.anthropic_key, maxRetries: 0 });
const stranger = new Anthropic({ baseURL: door.anthropic_url, apiKey: door.unknown_key, maxRetries: 0 });
const model = "claude-sonnet-5-5";
const base = { model, max_tokens: 2048, messages: QUESTION };
const tools = [{ name: "weather", input_schema: { type: "object", properties: {} } }];
const by = (script) => ({ metadata: { user_id: `script:${script}` } });

await check("messages", async () => {
  const answer = await client.messages.create(base);
  assert.equal(answer.content[0].text, TEXT);
  assert.equal(answer.usage.output_tokens, 5);
  assert.equal(answer._request_id, "req_fake");
});

await check("messages: stream", async () => {
  const events = await collect(await client.messages.create({ ...base, stream: true }));
  assert.equal(events[0].type, "message_start");
  assert.equal(events.at(-1).type, "message_stop");
});

await check("messages: thinking, streamed by the helper", async () => {
  const stream = client.messages.stream({
    ...base, thinking: { type: "enabled", budget_tokens: 1024 }, ...by("ok?makes=thinking&reasoning_tokens=2"),
  });
  const [thought, text] = (await stream.finalMessage()).content;
  assert.deepEqual([thought.type, text.text], ["thinking", TEXT]);
  assert.equal(thought.signature, "EqQBCkYIBxgCKkBmYWtlIHNpZ25hdHVyZSAv+/8=");
});

await check("messages: tools, plain and streamed", async () => {
  const asked = { ...base, tools, ...by("ok?makes=tool") };
  for (const answer of [await client.messages.create(asked), await client.messages.stream(asked).finalMessage()]) {
    assert.equal(answer.stop_reason, "tool_use");
    assert.deepEqual(answer.content[0].input, { place: "Wehr" });
  }
});

await check("messages: cache control", async () => {
  const answer = await client.messages.create({
    ...base,
    system: [{ type: "text", text: "Be brief.", cache_control: { type: "ephemeral", ttl: "1h" } }],
    ...by("ok?prompt_tokens=900&cached_tokens=500&written_tokens=200&written_1h_tokens=100"),
  });
  assert.deepEqual(answer.usage.cache_creation, { ephemeral_5m_input_tokens: 200, ephemeral_1h_input_tokens: 100 });
  assert.equal(answer.usage.cache_read_input_tokens, 500);
  assert.equal(answer.usage.input_tokens, 100);
});

await check("token counts", async () => {
  assert.deepEqual(await client.messages.countTokens({ model, messages: QUESTION }), { input_tokens: 10 });
});

await check("models", async () => {
  assert.equal((await collect(client.models.list()))[0].id, model);
  assert.equal((await client.models.retrieve(model)).id, model);
});

const classes = {
  400: Anthropic.BadRequestError, 401: Anthropic.AuthenticationError, 403: Anthropic.PermissionDeniedError,
  404: Anthropic.NotFoundError, 429: Anthropic.RateLimitError, 500: Anthropic.InternalServerError,
};
for (const [status, kind] of Object.entries(classes)) {
  await check(`upstream's ${status}`, async () => {
    for (const stream of [false, true]) {
      const error = await thrown(() => client.messages.create({ ...base, stream, ...by(`ok?status=${status}`) }));
      assert.equal(error.constructor, kind);
      assert.equal(error.error.type, "error");
    }
  });
}

await check("upstream's 529", async () => {
  const error = await thrown(() => client.messages.create({ ...base, ...by("error_529") }));
  assert.equal(error.status, 529);
  assert.equal(error.error.error.type, "overloaded_error");
});

await check("an error event in a stream", async () => {
  const error = await thrown(async () =>
    collect(await client.messages.create({ ...base, stream: true, ...by("error_event") })),
  );
  assert.ok(error instanceof Anthropic.APIError, String(error));
  assert.match(error.message, /overloaded_error/);
});

await checkGateway("a stream that upstream cuts", async () => {
  const error = await thrown(async () =>
    collect(await client.messages.create({ ...base, stream: true, ...by("cut?cut_with=fin&cut_after=4") })),
  );
  assert.ok(error instanceof Anthropic.APIError, String(error));
  assert.match(error.message, /\[Weir\]/);
});

await checkGateway("an unknown key", async () => {
  const error = await thrown(() => stranger.messages.create(base));
  assert.equal(error.constructor, Anthropic.AuthenticationError);
  assert.match(error.message, /\[Weir\]/);
  assert.ok(error.requestID);
});

await checkGateway("a key's own rate limit", async () => {
  const limited = new Anthropic({ baseURL: door.anthropic_url, apiKey: door.limited_anthropic_key, maxRetries: 0 });
  await limited.messages.create(base);
  const error = await thrown(() => limited.messages.create(base));
  assert.equal(error.constructor, Anthropic.RateLimitError);
  assert.ok(Number(error.headers.get("retry-after")) > 0);
});

finish();
