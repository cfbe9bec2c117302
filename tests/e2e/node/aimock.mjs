// An upstream that nobody here wrote: @copilotkit/aimock, for all dialects on one port. Runs until killed.
import { LLMock } from "@copilotkit/aimock";

const mock = new LLMock({ port: 0, logLevel: "silent" });
mock.addFixtures([
  {
    match: { userMessage: "counted" },
    response: { content: "One two three.", usage: { prompt_tokens: 41, completion_tokens: 7, total_tokens: 48,
      input_tokens: 41, output_tokens: 7 } },
  },
  { match: { userMessage: "weather" }, response: { toolCalls: [{ name: "weather", arguments: '{"place":"Wehr"}' }] } },
  { match: { userMessage: "think" }, response: { content: "Downhill.", reasoning: "Water runs downhill." } },
  { match: { userMessage: "too fast" }, response: { error: { message: "Slow down", type: "rate_limit_error" }, status: 429 } },
  { match: { userMessage: "broken" }, response: { error: { message: "Overloaded", type: "server_error" }, status: 503 } },
  { match: { userMessage: "cut" }, response: { content: "This is cut off ".repeat(20) }, chunkSize: 8, latency: 10, truncateAfterChunks: 6 },
  { match: { inputText: "vector" }, response: { embedding: [0.5, -0.25, 0.125] } },
  { match: {}, response: { content: "Hello from aimock." } },
]);
await mock.start();
console.log(mock.url);
