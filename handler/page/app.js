import { encodeRequest } from "./abi.js";

const DTYPES = [
  ..."double float long int half bfloat16 short int8 uint8 bool cdouble cfloat".split(" "),
];
const OFFCHAIN = 1;
const CHAIN = 0;

const at = (id) => document.getElementById(id);

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function describe(list, pairs) {
  list.replaceChildren(
    ...pairs
      .filter(([, text]) => text !== null && text !== undefined && text !== "")
      .flatMap(([name, text]) => [element("dt", name), element("dd", String(text))]),
  );
}

function headers() {
  const token = at("token").value.trim();
  const found = { "content-type": "application/json" };
  if (token) found.authorization = `Bearer ${token}`;
  return found;
}

// The answer of a path: its JSON, and its headers; throws what the service says is wrong.
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { headers: headers(), ...options });
  } catch {
    throw new Error("the service cannot be reached");
  }
  const answer = await response.json();
  if (!response.ok) throw Object.assign(new Error(answer.description), { answer });
  return [answer, response.headers];
}

async function showState() {
  const facts = [];
  try {
    const [index] = await ask("./");
    const [health] = await ask("health");
    facts.push(["version", index.version], ["workflow", health.workflow]);
    facts.push(["class", health.class], ["model", health.model], ["digest", health.digest]);
  } catch (error) {
    facts.push(["problem", error.message]);
  }
  describe(at("state"), facts);
}

// JSON, or lines of numbers that blanks, commas, semicolons or tabs separate.
function parseValues(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith("[") || trimmed.startsWith("{")) return JSON.parse(trimmed);
  const rows = trimmed.split(/\n+/).map((line) => line.trim().split(/[\s,;]+/).filter(Boolean));
  return rows.map((row) => row.map(number));
}

function number(text) {
  if (["NaN", "Infinity", "-Infinity"].includes(text)) return text;
  if (["true", "false"].includes(text)) return text === "true";
  const value = Number(text);
  if (Number.isNaN(value)) throw new Error(`"${text}" is no number`);
  return value;
}

function shapeOf(values) {
  return Array.isArray(values) ? [values.length, ...(values.length ? shapeOf(values[0]) : [])] : [];
}

function showTable(tensor) {
  const rows = Array.isArray(tensor.values) ? tensor.values : [tensor.values];
  const lines = rows.map((row) => {
    const line = document.createElement("tr");
    const cells = Array.isArray(row) ? row : [row];
    line.append(...cells.map((cell) => element("td", typeof cell === "object" ? JSON.stringify(cell) : cell)));
    return line;
  });
  const caption = element("caption", `${tensor.dtype}, shape [${(tensor.shape ?? []).join(", ")}]`);
  at("table").replaceChildren(caption, ...lines);
}

// Bars for the first row, where it looks like the probabilities of classes.
function showBars(tensor) {
  const row = Array.isArray(tensor.values?.[0]) ? tensor.values[0] : [];
  const sum = row.reduce((total, value) => total + value, 0);
  const probable = row.length > 1 && row.every((v) => v >= 0 && v <= 1) && Math.abs(sum - 1) < 1e-3;
  at("bars").replaceChildren(
    ...(probable ? row : []).map((value, index) => {
      const percent = `${(100 * value).toFixed(1)} %`;
      const bar = element("div", "", { class: "bar" });
      const meter = element("meter", percent, { value, "aria-label": `class ${index}` });
      bar.append(element("span", `class ${index}`), meter, element("span", percent));
      return bar;
    }),
  );
}

function showTimings(found) {
  const parts = (found.get("server-timing") ?? "").split(", ").filter(Boolean);
  const pairs = parts.map((part) => part.split(";dur="));
  describe(at("timings"), [
    ...pairs.map(([name, ms]) => [name, `${ms} ms`]),
    ["cold start", found.get("x-cold-start") === "1" ? "yes" : "no"],
  ]);
}

function curlOf(body) {
  const url = new URL("service_output", location.href);
  const token = at("token").value.trim() ? ` \\\n  -H "Authorization: Bearer $TOKEN"` : "";
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  return `curl ${url} \\\n  -H 'Content-Type: application/json'${token} \\\n  -d '${quoted}'`;
}

async function predict() {
  at("error").hidden = true;
  at("answer").hidden = true;
  let data;
  try {
    const values = parseValues(at("values").value);
    data = Array.isArray(values) ? { dtype: at("dtype").value, values } : values;
  } catch (error) {
    throw new Error(`the values cannot be read: ${error.message}`);
  }
  const body = { source: OFFCHAIN, data };
  const send = (request) => ask("service_output", { method: "POST", body: JSON.stringify(request) });
  const [answer, found] = await send(body);
  const tensor = answer.outputs?.[0] ?? ("values" in answer ? answer : { values: answer, dtype: "object" });
  showBars(tensor);
  showTable(tensor);
  showTimings(found);
  at("curl").textContent = curlOf(body);
  const flat = [data.values].flat(Infinity);
  const hex = encodeRequest(data.dtype, shapeOf(data.values), flat);
  at("hex-request").textContent = hex ?? "this dtype has no form on-chain";
  const [chain] = await send({ ...body, destination: CHAIN }).catch((error) => [{ raw_output: error.message }]);
  at("hex-answer").textContent = chain.raw_output;
  at("answer").hidden = false;
  at("answer-title").focus();
}

async function attempt(work) {
  at("predict").disabled = true;
  try {
    await work();
  } catch (error) {
    at("error").textContent = error.message;
    at("error").hidden = false;
  } finally {
    at("predict").disabled = false;
    await showState();
  }
}

async function fillExample() {
  const [document_] = await ask("openapi.json");
  const content = document_.paths["/service_output"].post.requestBody.content["application/json"];
  const { data } = content.examples["off-chain"].value;
  if (DTYPES.includes(data.dtype)) at("dtype").value = data.dtype;
  at("values").value = JSON.stringify("dtype" in data ? data.values : data);
}

at("dtype").replaceChildren(...DTYPES.map((name) => element("option", name)));
at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(predict);
});
at("example").addEventListener("click", () => attempt(fillExample));
at("token").addEventListener("change", showState);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const text = at(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
      at("copied").textContent = "Copied.";
    } catch {
      // Where the page is not served over https, the clipboard is closed: select it instead.
      getSelection().selectAllChildren(at(button.dataset.copy));
      at("copied").textContent = "Selected: copy it with your keyboard.";
    }
  });
}
showState();
