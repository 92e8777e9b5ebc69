// What the Node SDK sees of an endpoint, printed as JSON. Arguments: base URL, key. The same cases as cases.py.
import OpenAI from "openai";

const [url, key] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const MODEL = "gpt-4o-mini";
const EMBEDDER = "text-embedding-3-small";
const ASKED = { model: MODEL, messages: [{ role: "user", content: "What is 12 + 30?" }], max_tokens: 6 };
const TOOLS = [
  { type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } } },
];

async function whole() {
  const answer = await client.chat.completions.create(ASKED);
  return [answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage.total_tokens];
}

async function chunks(asked) {
  const seen = [];
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true })) seen.push(chunk);
  return seen;
}

async function streamed() {
  const asked = await chunks({ ...ASKED, stream_options: { include_usage: true } });
  const plain = await chunks(ASKED);
  const text = asked.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  const silent = plain.every((chunk) => chunk.choices.length > 0 && (chunk.usage ?? null) === null);
  return [text, asked.at(-1).usage.total_tokens, silent];
}

async function tool() {
  const answer = await client.chat.completions.create({ ...ASKED, tools: TOOLS });
  const [call] = answer.choices[0].message.tool_calls;
  return [call.function.name, JSON.parse(call.function.arguments), answer.choices[0].finish_reason];
}

async function embedded() {
  const answer = await client.embeddings.create({ model: EMBEDDER, input: ["sea", "lake"], dimensions: 8 });
  return [answer.data.map((one) => one.embedding.length), answer.usage.prompt_tokens];
}

async function models() {
  const names = [];
  for await (const model of client.models.list()) if ([MODEL, EMBEDDER].includes(model.id)) names.push(model.id);
  return names;
}

async function raised(call) {
  try {
    await call();
  } catch (error) {
    return error.constructor.name;
  }
  return "nothing";
}

async function errors() {
  const wrongKey = new OpenAI({ baseURL: url, apiKey: "wrong", maxRetries: 0 });
  return [
    await raised(() => wrongKey.chat.completions.create(ASKED)),
    await raised(() => client.chat.completions.create({ ...ASKED, model: "none-such" })),
    await raised(() => client.chat.completions.create({ ...ASKED, messages: [] })),
    await raised(() => client.chat.completions.create({ ...ASKED, metadata: { simulate: "server_error" } })),
  ];
}

const seen = {};
for (const run of [whole, streamed, tool, embedded, models, errors]) seen[run.name] = await run();
console.log(JSON.stringify(seen));
