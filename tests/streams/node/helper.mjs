// Opens a stream with the helper, as the options in argv say; prints a line for each thing it tells.
import { openStream } from "../../../gateway/static/kafkahub-stream.js";

const { enough = Infinity, loop = false, tickets, ...options } = JSON.parse(process.argv[2]);
const say = (kind, value) => console.log(JSON.stringify({ kind, value }));
const kept = new Map(Object.entries(options.storage ?? {}));
let count = 0;
let asked = 0;

const stream = openStream({
  ...options,
  ...(tickets && { ticket: async () => tickets[Math.min(asked++, tickets.length - 1)] }),
  storage: { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) },
  onState: (state) => say("state", state),
  onGap: (gap) => say("gap", gap),
  onClosing: (closing) => say("closing", closing),
  ...(!loop && { onMessage: receive }),
});

async function receive(record) {
  count += 1;
  say("record", record);
  if (count >= enough) stream.close();
}

if (loop) {
  try {
    for await (const record of stream) await receive(record);
  } catch {
    // told by `closed`, as below
  }
}
const error = await stream.closed;
say("closed", error && { code: error.code, status: error.status, cursor: error.cursor });
say("kept", { cursor: stream.cursor, saved: [...kept.values()], asked });
