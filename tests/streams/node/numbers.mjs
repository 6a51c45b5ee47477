// Reads a stream with the helper in a loop; prints each number.
import { openStream } from "../../../gateway/static/kafkahub-stream.js";

const [url, topic, ticket, count] = process.argv.slice(2);
let seen = 0;
const onState = (state) => state === "live" && console.log("ready");

for await (const record of openStream({ url, topics: [topic], ticket, onState })) {
  console.log(record.value.n);
  seen += 1;
  if (seen >= Number(count)) break;
}
