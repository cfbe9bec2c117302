// The official OpenAI SDK for Node.
import OpenAI from "openai";
import { QUESTION, TEXT, assert, check, checkGateway, collect, door, finish, thrown } from "./checks.mjs";

const client = new OpenAI({ baseURL: door.openai_url, apiKey: door.openai_key, maxRetries: 0 });
const stranger = new OpenAI({ baseURL: door.openai_url, apiKey: door.unknown_key, maxRetries: 0 });
const model = "gpt-4o";
const weather = { name: "weather", parameters: { type: "object", properties: {} } };
const chatTools = [{ type: "function", function: weather }];
const chat = (fields = {}) => client.chat.completions.create({ model, messages: QUESTION, ...fields });

await check("chat", async () => {
  const answer = await chat();
  assert.equal(answer.choices[0].message.content, TEXT);
  assert.equal(answer.usage.completion_tokens, 5);
  assert.equal(answer._request_id, "req_fake");
});

await check("chat: stream", async () => {
  const chunks = await collect(await chat({ stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join(""), TEXT);
});

await check("chat: stream with usage", async () => {
  const chunks = await collect(await chat({ stream: true, stream_options: { include_usage: true } }));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, 5);
});

await check("chat: tools, streamed by the helper", async () => {
  const stream = client.chat.completions.stream({
    model, messages: QUESTION, tools: chatTools, user: "script:ok?makes=tool",
  });
  const [call] = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  assert.equal(call.function.name, "weather");
  assert.deepEqual(JSON.parse(call.function.arguments), { place: "Wehr" });
});

await check("completions", async () => {
  const answer = await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: "Say hello." });
  assert.equal(answer.choices[0].text, TEXT);
  const chunks = await collect(
    await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: "Say hello.", stream: true }),
  );
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), TEXT);
});

await check("responses: create, retrieve, list its input, cancel, delete", async () => {
  const made = await client.responses.create({ model, input: "Say hello.", metadata: { order: "7" } });
  assert.equal(made.output_text, TEXT);
  assert.equal(made.usage.output_tokens, 5);
  const again = await client.responses.create({ model, input: "And again.", previous_response_id: made.id });
  assert.equal(again.previous_response_id, made.id);
  assert.equal((await client.responses.retrieve(made.id)).id, made.id);
  assert.equal((await collect(client.responses.inputItems.list(made.id))).length, 1);
  assert.equal((await client.responses.cancel(made.id)).status, "cancelled");
  await client.responses.delete(made.id);
});

await check("responses: stream with thoughts", async () => {
  const stream = client.responses.stream({ model, input: "Say hello.", user: "script:ok?makes=thinking" });
  const types = new Set((await collect(stream)).map((event) => event.type));
  assert.ok(types.has("response.output_text.delta"));
  assert.ok(types.has("response.reasoning_summary_text.delta"));
  assert.equal((await stream.finalResponse()).output_text, TEXT);
});

await check("responses: tools, streamed", async () => {
  const stream = client.responses.stream({
    model, input: "Weather?", tools: [{ type: "function", strict: false, ...weather }], user: "script:ok?makes=tool",
  });
  const [item] = (await stream.finalResponse()).output;
  assert.deepEqual([item.type, item.name, item.arguments], ["function_call", "weather", '{"place":"Wehr"}']);
});

await check("embeddings", async () => {
  const answer = await client.embeddings.create({ model: "text-embedding-3-small", input: ["a", "b"] });
  assert.deepEqual(answer.data.map((one) => one.embedding), [[0.5, -0.25, 0.125], [0.5, -0.25, 0.125]]);
  assert.equal(answer.usage.prompt_tokens, 10);
});

await check("moderations", async () => {
  assert.equal((await client.moderations.create({ input: "Say hello." })).results[0].flagged, false);
});

await check("models", async () => {
  assert.deepEqual((await collect(client.models.list())).map((one) => one.id), ["gpt-4o", "gpt-4o-mini"]);
  assert.equal((await client.models.retrieve("gpt-4o")).id, "gpt-4o");
});

const classes = {
  400: OpenAI.BadRequestError, 401: OpenAI.AuthenticationError, 403: OpenAI.PermissionDeniedError,
  404: OpenAI.NotFoundError, 429: OpenAI.RateLimitError, 500: OpenAI.InternalServerError,
  529: OpenAI.InternalServerError,
};
for (const [status, kind] of Object.entries(classes)) {
  await check(`upstream's ${status}`, async () => {
    for (const stream of [false, true]) {
      const error = await thrown(() => chat({ stream, user: `script:ok?status=${status}` }));
      assert.equal(error.constructor, kind);
      assert.equal(error.status, Number(status));
    }
  });
}

await check("the wait that upstream's 429 asks for", async () => {
  const error = await thrown(() => chat({ user: "script:error_429" }));
  assert.equal(error.headers.get("retry-after"), "7");
  assert.equal(error.code, "rate_limit_exceeded");
});

await checkGateway("a stream that upstream cuts", async () => {
  const error = await thrown(async () => collect(await chat({ stream: true, user: "script:cut?cut_with=fin" })));
  assert.ok(error instanceof OpenAI.APIError, String(error));
  assert.match(error.message, /\[Weir\]/);
});

await checkGateway("an unknown key", async () => {
  for (const ask of [
    () => stranger.chat.completions.create({ model, messages: QUESTION }),
    () => stranger.responses.create({ model, input: "Say hello.", stream: true }),
  ]) {
    const error = await thrown(ask);
    assert.equal(error.constructor, OpenAI.AuthenticationError);
    assert.match(error.message, /\[Weir\]/);
    assert.ok(error.requestID);
  }
});

await checkGateway("a key's own rate limit", async () => {
  const limited = new OpenAI({ baseURL: door.openai_url, apiKey: door.limited_openai_key, maxRetries: 0 });
  await limited.embeddings.create({ model: "text-embedding-3-small", input: "a" });
  const error = await thrown(() => limited.chat.completions.create({ model, messages: QUESTION }));
  assert.equal(error.constructor, OpenAI.RateLimitError);
  assert.ok(Number(error.headers.get("retry-after")) > 0);
});

finish();
