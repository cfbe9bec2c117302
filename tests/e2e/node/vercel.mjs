// Vercel's AI SDK with its OpenAI and Anthropic providers.
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateText, streamText, tool } from "ai";
import { z } from "zod";
import { TEXT, assert, check, checkGateway, collect, door, finish, thrown } from "./checks.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false;
const openai = createOpenAI({ baseURL: door.openai_url, apiKey: door.openai_key });
const anthropic = createAnthropic({ baseURL: `${door.anthropic_url}/v1`, apiKey: door.anthropic_key });
const models = {
  "openai chat": openai.chat("gpt-4o"),
  "openai responses": openai.responses("gpt-4o"),
  anthropic: anthropic("claude-sonnet-5-5"),
};
const by = (script) => ({
  openai: { user: `script:${script}` },
  anthropic: { metadata: { userId: `script:${script}` } },
});
const weather = tool({ description: "Tells the weather.", inputSchema: z.object({ place: z.string() }) });
const prompt = "Say hello.";

for (const [name, model] of Object.entries(models)) {
  await check(`${name}: text`, async () => {
    const answer = await generateText({ model, prompt, maxRetries: 0 });
    assert.equal(answer.text, TEXT);
    assert.equal(answer.usage.outputTokens, 5);
  });

  await check(`${name}: stream`, async () => {
    const answer = streamText({ model, prompt, maxRetries: 0 });
    assert.equal((await collect(answer.textStream)).join(""), TEXT);
    assert.equal((await answer.usage).outputTokens, 5);
  });

  await check(`${name}: tools, streamed`, async () => {
    const answer = streamText({
      model, prompt, tools: { weather }, maxRetries: 0, providerOptions: by("ok?makes=tool"),
    });
    await collect(answer.textStream);
    const [call] = await answer.toolCalls;
    assert.deepEqual([call.toolName, call.input], ["weather", { place: "Wehr" }]);
  });

  await check(`${name}: upstream's 429 may be tried again`, async () => {
    const error = await thrown(() =>
      generateText({ model, prompt, maxRetries: 0, providerOptions: by("ok?status=429") }),
    );
    assert.ok(APICallError.isInstance(error), String(error));
    assert.deepEqual([error.statusCode, error.isRetryable], [429, true]);
  });

  await check(`${name}: upstream's 400 may not`, async () => {
    const error = await thrown(() =>
      generateText({ model, prompt, maxRetries: 0, providerOptions: by("ok?status=400") }),
    );
    assert.deepEqual([error.statusCode, error.isRetryable], [400, false]);
    assert.match(error.message, /the fake says 400/);
  });
}

await check("anthropic: thinking, streamed", async () => {
  const answer = streamText({
    model: models.anthropic, prompt, maxRetries: 0,
    providerOptions: {
      anthropic: { ...by("ok?makes=thinking").anthropic, thinking: { type: "enabled", budgetTokens: 1024 } },
    },
  });
  assert.equal((await collect(answer.textStream)).join(""), TEXT);
  assert.equal(await answer.reasoningText, "Water runs downhill.");
});

await check("embeddings", async () => {
  const answer = await embedMany({
    model: openai.embedding("text-embedding-3-small"), values: ["a", "b"], maxRetries: 0,
  });
  assert.deepEqual(answer.embeddings, [[0.5, -0.25, 0.125], [0.5, -0.25, 0.125]]);
  assert.equal(answer.usage.tokens, 10);
});

await checkGateway("an unknown key", async () => {
  const strangers = [
    createOpenAI({ baseURL: door.openai_url, apiKey: door.unknown_key }).chat("gpt-4o"),
    createAnthropic({ baseURL: `${door.anthropic_url}/v1`, apiKey: door.unknown_key })("claude-sonnet-5-5"),
  ];
  for (const model of strangers) {
    const error = await thrown(() => generateText({ model, prompt, maxRetries: 0 }));
    assert.deepEqual([error.statusCode, error.isRetryable], [401, false]);
    assert.match(error.message, /\[Weir\]/);
  }
});

finish();
