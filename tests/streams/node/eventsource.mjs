// Reads a stream with npm's eventsource, installed in the folder of argv[2]; prints each number.
import { createRequire } from "node:module";

const [folder, url, count] = process.argv.slice(2);
const { EventSource } = createRequire(`${folder}/`)("eventsource");
const source = new EventSource(url);
let seen = 0;

source.addEventListener("heartbeat", () => console.log("ready"));
source.onmessage = ({ data }) => {
  console.log(JSON.parse(data).value.n);
  seen += 1;
  if (seen >= Number(count)) source.close();
};
source.onerror = ({ code }) => {
  if (source.readyState === 2) process.exit(code ?? 1);
};
